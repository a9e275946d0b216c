package output

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ShowAccessCheck writes whether somebody may, and why.
func ShowAccessCheck(w io.Writer, answer *nthlayerv1.CheckAccessResponse) error {
	verdict := bad.Render("no")
	if answer.GetAllowed() {
		verdict = good.Render("yes")
	}
	roles := "none"
	if len(answer.GetRoles()) > 0 {
		roles = clean(strings.Join(answer.GetRoles(), ", "))
	}
	_, err := fmt.Fprintf(w, "%s: %s\n%s\n", verdict, clean(answer.GetWhy()), Faint("roles: "+roles))
	return err
}

// ShowGrants writes one line a grant.
func ShowGrants(w io.Writer, now time.Time, grants []*nthlayerv1.Grant) error {
	if len(grants) == 0 {
		_, err := fmt.Fprintln(w, "No roles were given: tokens alone say who may do what.")
		return err
	}
	t := table{headings: []string{"SUBJECT", "ROLE", "ON", "GRANTED", "BY", "ENDS", "REASON"}}
	for _, g := range grants {
		t.add(text(g.GetSubject()), text(g.GetRole()), text(everywhereOr(g.GetTeamId())), text(ago(now, g.GetGrantedAt().AsTime())),
			text(g.GetGrantedBy()), text(ends(now, g)), text(g.GetReason()))
	}
	return t.write(w)
}

// ShowGrant says what was given, or taken back.
func ShowGrant(w io.Writer, g *nthlayerv1.Grant) error {
	on := "everywhere"
	take := fmt.Sprintf("nthlayer access revoke %s %s", clean(g.GetSubject()), clean(g.GetRole()))
	if g.GetTeamId() != "" {
		on = "on " + clean(g.GetTeamId())
		take += " --team " + clean(g.GetTeamId())
	}
	if g.GetRevokedAt() != nil {
		_, err := fmt.Fprintf(w, "%s is not %s %s any more\n", clean(g.GetSubject()), clean(g.GetRole()), on)
		return err
	}
	until := ""
	if g.GetExpiresAt() != nil {
		until = " until " + g.GetExpiresAt().AsTime().Local().Format(time.DateTime)
	}
	_, err := fmt.Fprintf(w, "%s is %s %s%s\n%s\n", clean(g.GetSubject()), clean(g.GetRole()), on, until, Faint("take it back with: "+take))
	return err
}

// ends says when a grant ends, or how it has ended.
func ends(now time.Time, g *nthlayerv1.Grant) string {
	switch {
	case g.GetRevokedAt() != nil:
		return fmt.Sprintf("revoked by %s %s", clean(g.GetRevokedBy()), ago(now, g.GetRevokedAt().AsTime()))
	case g.GetExpiresAt() == nil:
		return ""
	case !now.Before(g.GetExpiresAt().AsTime()):
		return "expired " + ago(now, g.GetExpiresAt().AsTime())
	default:
		return g.GetExpiresAt().AsTime().Local().Format("2006-01-02 15:04")
	}
}

// ShowRoles writes one line a role.
func ShowRoles(w io.Writer, now time.Time, roles []*nthlayerv1.Role) error {
	t := table{headings: []string{"ROLE", "OF", "ACTIONS", "ENDED"}}
	for _, r := range roles {
		of := clean(r.GetChangedBy())
		if r.GetBuiltIn() {
			of = "built in"
		}
		t.add(text(r.GetRole()), text(of), text(strings.Join(r.GetActions(), " ")), text(ended(now, r)))
	}
	hideEnded(&t, roles)
	return t.write(w)
}

// ShowIdentities writes one line an address.
func ShowIdentities(w io.Writer, now time.Time, identities []*nthlayerv1.Identity) error {
	if len(identities) == 0 {
		_, err := fmt.Fprintln(w, "No address is linked to anybody.")
		return err
	}
	t := table{headings: []string{"EMAIL", "SUBJECT", "LINKED", "BY", "ENDED"}}
	for _, i := range identities {
		t.add(text(i.GetEmail()), text(i.GetSubject()), text(ago(now, i.GetLinkedAt().AsTime())), text(i.GetLinkedBy()), text(ended(now, i)))
	}
	hideEnded(&t, identities)
	return t.write(w)
}

func everywhereOr(teamID string) string {
	if teamID == "" {
		return "everywhere"
	}
	return teamID
}

// lasting is what may have ended, by somebody's doing.
type lasting interface {
	GetEndedBy() string
	GetEndedAt() *timestamppb.Timestamp
}

// ended says who ended something, and when; empty: it counts.
func ended(now time.Time, l lasting) string {
	if l.GetEndedAt() == nil {
		return ""
	}
	return fmt.Sprintf("by %s %s", clean(l.GetEndedBy()), ago(now, l.GetEndedAt().AsTime()))
}

// hideEnded leaves the last column out where nothing has ended.
func hideEnded[L lasting](t *table, all []L) {
	if !slices.ContainsFunc(all, func(l L) bool { return l.GetEndedAt() != nil }) {
		t.drop("ENDED")
	}
}
