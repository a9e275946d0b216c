package output

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ShowRuns writes one line a run.
func ShowRuns(w io.Writer, now time.Time, runs []*nthlayerv1.Run) error {
	if len(runs) == 0 {
		_, err := fmt.Fprintln(w, "No runs. Start one with: nthlayer team reconcile TEAM")
		return err
	}
	t := table{headings: []string{"JOB", "TEAM", "STATUS", "CREATED", "TOOK", "REQUESTED BY", "SUMMARY"}}
	for _, r := range runs {
		t.add(text(r.GetJobId()), text(r.GetTeamId()), status(r.GetStatus()), text(ago(now, r.GetCreatedAt().AsTime())),
			text(between(r.GetStartedAt(), r.GetFinishedAt())), text(r.GetRequestedBy()), text(outcome(r)))
	}
	return t.write(w)
}

// ShowRun writes a run with its steps and findings.
func ShowRun(w io.Writer, now time.Time, r *nthlayerv1.Run) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s of %s, %s by %s\n", bold.Render(clean(r.GetJobId())), clean(r.GetType()),
		clean(r.GetTeamId()), ago(now, r.GetCreatedAt().AsTime()), clean(r.GetRequestedBy()))
	fmt.Fprintf(&b, "%s", statusStyle(r.GetStatus()).Render(words(r.GetStatus())))
	if d := between(r.GetStartedAt(), r.GetFinishedAt()); d != "" {
		fmt.Fprintf(&b, " in %s", d)
	}
	if s := outcome(r); s != "" {
		fmt.Fprintf(&b, ": %s", s)
	}
	b.WriteByte('\n')
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %s %s\n", faint.Render(fmt.Sprintf("%-12s", name)), clean(value))
		}
	}
	line("why", r.GetReason())
	line("undoes", r.GetRollbackOf())
	line("only", strings.Join(r.GetOnly(), ", "))
	line("not", strings.Join(r.GetExclude(), ", "))
	line("freeze", r.GetOverrideFreeze())
	if err := ShowApproval(&b, now, r.GetApproval()); err != nil {
		return err
	}
	if d := r.GetPlan().GetDecision(); d != nil {
		for _, v := range d.GetViolations() {
			line("rule", v.GetRule()+": "+words(v.GetVerdict())+": "+v.GetReason())
		}
		line("rules", d.GetRevision())
	}
	if len(r.GetSteps()) > 0 {
		b.WriteByte('\n')
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if len(r.GetSteps()) > 0 {
		t := table{headings: []string{"STEP", "STATUS", "TOOK", "TRIES", ""}}
		for _, s := range r.GetSteps() {
			t.add(text(s.GetName()), status(s.GetStatus()), text(between(s.GetStartedAt(), s.GetFinishedAt())),
				number(s.GetAttempts()), text(s.GetError()))
		}
		if err := t.write(w); err != nil {
			return err
		}
	}
	if r.GetFindingsArchived() != "" {
		fmt.Fprintf(w, "\n%s.\n", clean(strings.ToUpper(r.GetFindingsArchived()[:1])+r.GetFindingsArchived()[1:]))
	}
	if len(r.GetFindings()) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return ShowFindings(w, now, r.GetFindings())
}

// ShowTrailArchives writes one line for each archive of the trail.
func ShowTrailArchives(w io.Writer, now time.Time, archives []*nthlayerv1.TrailArchive) error {
	if len(archives) == 0 {
		_, err := fmt.Fprintln(w, "No part of the trail was moved to archives.")
		return err
	}
	t := table{headings: []string{"FROM", "TO", "RECORDED", "MOVED", "LOCATION", "SHA-256"}}
	for _, a := range archives {
		t.add(number(a.GetFirstSeq()), number(a.GetLastSeq()), text(ago(now, a.GetRecordedFrom().AsTime())+" to "+ago(now, a.GetRecordedTo().AsTime())),
			text(ago(now, a.GetArchivedAt().AsTime())), text(a.GetLocation()), text(a.GetSha256()))
	}
	return t.write(w)
}

// ShowApproval writes what a run waits for: which plan, whose approval, and who has approved.
func ShowApproval(w io.Writer, now time.Time, a *nthlayerv1.Approval) error {
	if a == nil {
		return nil
	}
	var b strings.Builder
	line := func(name, value string) {
		fmt.Fprintf(&b, "  %s %s\n", faint.Render(fmt.Sprintf("%-12s", name)), value)
	}
	line("plan", fmt.Sprintf("%.12s, to be approved until %s", clean(a.GetPlanHash()), a.GetExpiresAt().AsTime().Local().Format(time.DateTime)))
	var asked []string
	for _, who := range a.GetApprovers() {
		text := fmt.Sprintf("%d × %s", who.GetCount(), clean(who.GetRole()))
		if !who.GetRequester() {
			text += ", not who asked"
		}
		asked = append(asked, text)
	}
	line("by", strings.Join(asked, "; "))
	for _, v := range a.GetVotes() {
		text := fmt.Sprintf("%s by %s", clean(v.GetPrincipal()), clean(v.GetVia()))
		if !v.GetAt().AsTime().IsZero() {
			text += ", " + ago(now, v.GetAt().AsTime())
		}
		if why := clean(v.GetReason()); why != "" {
			text += ": " + why
		}
		line("approved", text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// outcome is the run's own sentence, or why it failed.
func outcome(r *nthlayerv1.Run) string {
	return clean(cmp.Or(r.GetError().GetMessage(), r.GetSummary()))
}

// ShowFindings writes one line for each entry of the trail, and the calls it took.
func ShowFindings(w io.Writer, now time.Time, findings []*nthlayerv1.Finding) error {
	if len(findings) == 0 {
		_, err := fmt.Fprintln(w, "No findings.")
		return err
	}
	// Of one team's findings nobody needs to read the team in every line.
	oneTeam := !slices.ContainsFunc(findings, func(f *nthlayerv1.Finding) bool { return f.GetTeamId() != findings[0].GetTeamId() })
	t := table{headings: []string{"SEQ", "TEAM", "ACTION", "WHOM", "CHANGE", "OUTCOME", "BY", "APPROVED BY", "WHY", "WHEN", "CALLS"}}
	for _, f := range findings {
		t.add(number(f.GetSeq()), text(f.GetTeamId()), text(words(f.GetAction())), text(person(f.GetEntityRef())), text(change(f)),
			status(f.GetOutcome()), text(f.GetActor()), text(strings.Join(f.GetApprovedBy(), ", ")), text(f.GetReason()),
			text(ago(now, f.GetRecordedAt().AsTime())), text(calls(f.GetApiCalls())))
	}
	if oneTeam {
		t.drop("TEAM")
	}
	if !slices.ContainsFunc(findings, func(f *nthlayerv1.Finding) bool { return len(f.GetApprovedBy()) > 0 }) {
		t.drop("APPROVED BY")
	}
	if !slices.ContainsFunc(findings, func(f *nthlayerv1.Finding) bool { return f.GetReason() != "" }) {
		t.drop("WHY")
	}
	return t.write(w)
}

// change is what a finding changed, or its message where it changed nothing; of what is ignored it says why.
func change(f *nthlayerv1.Finding) string {
	changed := difference(f)
	if message := clean(f.GetMessage()); f.GetOutcome() == "ignored" && changed != message {
		return changed + "; " + message
	}
	return changed
}

func difference(f *nthlayerv1.Finding) string {
	before, after := fields(f.GetBefore().AsMap()), fields(f.GetAfter().AsMap())
	switch f.GetAction() {
	case "add_member":
		return "→ " + after["role"]
	case "remove_member":
		return before["role"] + " →"
	case "change_role":
		return before["role"] + " → " + after["role"]
	default:
		return cmp.Or(strings.TrimSpace(differing(before, after)), clean(f.GetMessage()))
	}
}

func calls(calls []*nthlayerv1.ApiCall) string {
	parts := make([]string, len(calls))
	for i, c := range calls {
		parts[i] = fmt.Sprintf("%s %s %d", c.GetMethod(), c.GetPath(), c.GetStatus())
	}
	return strings.Join(parts, ", ")
}

// ShowDeliveries writes one line a delivery.
func ShowDeliveries(w io.Writer, now time.Time, deliveries []*nthlayerv1.Delivery) error {
	if len(deliveries) == 0 {
		_, err := fmt.Fprintln(w, "No deliveries.")
		return err
	}
	t := table{headings: []string{"KEY", "TO", "STATUS", "TRIES", "CREATED", "JOB", "ERROR"}}
	for _, d := range deliveries {
		t.add(text(d.GetDeliveryKey()), text(d.GetMedium()+" "+d.GetChannel()), status(d.GetStatus()), number(d.GetAttempts()),
			text(ago(now, d.GetCreatedAt().AsTime())), text(d.GetJobId()), text(d.GetLastError()))
	}
	return t.write(w)
}

func between(from, to *timestamppb.Timestamp) string {
	if from == nil || to == nil {
		return ""
	}
	return took(to.AsTime().Sub(from.AsTime()))
}

// ShowOutcome writes what came out of a finished run.
func ShowOutcome(w io.Writer, r *nthlayerv1.Run) error {
	line := statusStyle(r.GetStatus()).Bold(true).Render(words(r.GetStatus()))
	if d := between(r.GetStartedAt(), r.GetFinishedAt()); d != "" {
		line += " in " + d
	}
	if s := outcome(r); s != "" {
		line += ": " + s
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
