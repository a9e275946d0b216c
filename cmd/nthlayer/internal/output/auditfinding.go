package output

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ShowAuditFindings writes one line a finding of audits.
func ShowAuditFindings(w io.Writer, now time.Time, findings []*nthlayerv1.AuditFinding) error {
	if len(findings) == 0 {
		_, err := fmt.Fprintln(w, "No findings. What audits find wrong appears here.")
		return err
	}
	oneTeam := !slices.ContainsFunc(findings, func(f *nthlayerv1.AuditFinding) bool { return f.GetTeamId() != findings[0].GetTeamId() })
	t := table{headings: []string{"FINDING", "TEAM", "KIND", "STATUS", "FIRST SEEN", "LAST SEEN", "WHAT"}}
	for _, f := range findings {
		t.add(text(f.GetFindingId()), text(f.GetTeamId()), text(f.GetKind()), status(f.GetStatus()),
			text(ago(now, f.GetFirstSeenAt().AsTime())), text(ago(now, f.GetLastSeenAt().AsTime())), text(f.GetMessage()))
	}
	if oneTeam && findings[0].GetTeamId() == "" {
		t.drop("TEAM")
	}
	return t.write(w)
}

// ShowAuditFinding writes everything known of one.
func ShowAuditFinding(w io.Writer, now time.Time, f *nthlayerv1.AuditFinding) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s\n%s\n", bold.Render(clean(f.GetFindingId())), clean(f.GetKind()),
		statusStyle(f.GetStatus()).Render(words(f.GetStatus())), clean(f.GetMessage()))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %s %s\n", faint.Render(fmt.Sprintf("%-12s", name)), value)
		}
	}
	line("team", clean(f.GetTeamId()))
	line("about", clean(f.GetEntityRef()))
	line("category", clean(f.GetCategory()))
	line("first seen", fmt.Sprintf("%s by audit %s", ago(now, f.GetFirstSeenAt().AsTime()), clean(f.GetFirstAuditId())))
	line("last seen", fmt.Sprintf("%s by audit %s", ago(now, f.GetLastSeenAt().AsTime()), clean(f.GetLastAuditId())))
	if n := f.GetReopened(); n > 0 {
		line("returned", fmt.Sprintf("%s, last %s", plural(int(n), "time"), ago(now, f.GetReopenedAt().AsTime())))
	}
	if f.GetAcknowledgedUntil() != nil {
		line("acknowledged", fmt.Sprintf("until %s by %s: %s",
			f.GetAcknowledgedUntil().AsTime().Local().Format(time.DateTime), clean(f.GetAcknowledgedBy()), clean(f.GetAcknowledgeReason())))
	}
	if f.GetResolvedAt() != nil {
		kind, id, _ := strings.Cut(clean(f.GetResolvedBy()), ":")
		line("resolved", strings.TrimRight(fmt.Sprintf("%s by %s %s", ago(now, f.GetResolvedAt().AsTime()), kind, id), " "))
	}
	if by := clean(f.GetChangedBy()); by != "" {
		if f.GetChangedAt() != nil {
			by += ", " + ago(now, f.GetChangedAt().AsTime())
		}
		line("made so by", by)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
