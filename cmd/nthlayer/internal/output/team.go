package output

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ShowTeams writes one line a team.
func ShowTeams(w io.Writer, now time.Time, teams []*nthlayerv1.Team) error {
	if len(teams) == 0 {
		_, err := fmt.Fprintln(w, "No teams. Teams appear when they are first planned or reconciled.")
		return err
	}
	t := table{headings: []string{"TEAM", "NAME", "STATUS", "SINCE", "MEMBERS", "PAGERDUTY"}}
	for _, team := range teams {
		since := ""
		if team.GetSyncStatusSince() != nil {
			since = ago(now, team.GetSyncStatusSince().AsTime())
		}
		t.add(text(team.GetTeamId()), text(team.GetName()), status(team.GetSyncStatus()), text(since),
			number(team.GetMemberCount()), text(team.GetLink().GetTargetTeamId()))
	}
	return t.write(w)
}

// ShowTeam writes everything known of a team.
func ShowTeam(w io.Writer, now time.Time, team *nthlayerv1.Team) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", bold.Render(clean(team.GetTeamId())), clean(team.GetName()))
	line := func(name, value string) {
		fmt.Fprintf(&b, "  %s %s\n", faint.Render(fmt.Sprintf("%-10s", name)), value)
	}
	since := ""
	if team.GetSyncStatusSince() != nil {
		since = faint.Render(" since " + ago(now, team.GetSyncStatusSince().AsTime()))
	}
	line("status", statusStyle(team.GetSyncStatus()).Render(words(team.GetSyncStatus()))+since)
	if p := team.GetPause(); p != nil {
		line("paused", fmt.Sprintf("until %s by %s: %s", p.GetUntil().AsTime().Local().Format(time.DateTime), clean(p.GetPausedBy()), clean(p.GetReason())))
	}
	switch team.GetAutoReconcile() {
	case "":
	case "enforce":
		line("audits", "ask for a run when it is out of sync")
	default:
		line("audits", "change nothing of it")
	}
	if team.GetArchived() {
		line("archived", "yes")
	}
	link := faint.Render("not linked yet")
	if l := team.GetLink(); l != nil {
		link = fmt.Sprintf("%s %s ↔ %s %s", words(l.GetSource()), clean(l.GetSourceTeamId()), words(l.GetTarget()), clean(l.GetTargetTeamId()))
	}
	line("link", link)
	line("last run", cmp.Or(clean(team.GetLastJobId()), faint.Render("none")))
	if team.GetSourceReadAt() != nil {
		line("read", ago(now, team.GetSourceReadAt().AsTime()))
	}
	for _, r := range team.GetIgnoreRules() {
		line("ignored", fmt.Sprintf("%s %s until %s: %s%s", clean(r.GetKind()), clean(r.GetValue()), date(r.GetExpiresAt()), clean(r.GetReason()),
			faint.Render(fmt.Sprintf(" (rule %s of %s, ask %s)", clean(r.GetRuleId()), fleetOr(clean(r.GetTeamId())), clean(r.GetOwner())))))
	}
	if _, err := io.WriteString(w, b.String()); err != nil || len(team.GetMembers()) == 0 {
		return err
	}
	fmt.Fprintln(w)
	t := table{headings: []string{"MEMBER", "NAME", "ROLE"}}
	for _, m := range team.GetMembers() {
		t.add(text(m.GetEmail()), text(m.GetName()), text(m.GetRole()))
	}
	return t.write(w)
}
