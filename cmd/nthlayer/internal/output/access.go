package output

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ShowAccess writes whether somebody may, and why.
func ShowAccess(w io.Writer, c *nthlayerv1.CheckAccessResponse) error {
	answer := bad.Render("no")
	if c.GetAllowed() {
		answer = good.Render("yes")
	}
	_, err := fmt.Fprintf(w, "%s: %s\n%s\n", answer, clean(c.GetWhy()), Faint("roles: "+cmp.Or(clean(strings.Join(c.GetRoles(), ", ")), "none")))
	return err
}

// ShowGrants writes one line a grant.
func ShowGrants(w io.Writer, now time.Time, grants []*nthlayerv1.Grant) error {
	if len(grants) == 0 {
		_, err := fmt.Fprintln(w, "No grants: what tokens grant is all there is. Give a role with: nthlayer access grant SUBJECT ROLE")
		return err
	}
	t := table{headings: []string{"WHO", "ROLE", "ON", "BY", "WHEN", "UNTIL", "REASON", "ENDED"}}
	for _, g := range grants {
		until, ended := "", ""
		if g.GetExpiresAt() != nil {
			until = g.GetExpiresAt().AsTime().Local().Format(time.DateTime)
			if g.GetExpiresAt().AsTime().Before(now) {
				ended = "expired"
			}
		}
		if g.GetRevokedAt() != nil {
			ended = fmt.Sprintf("revoked by %s %s", g.GetRevokedBy(), ago(now, g.GetRevokedAt().AsTime()))
		}
		t.add(text(g.GetSubject()), text(g.GetRole()), text(cmp.Or(g.GetTeamId(), "everything")), text(g.GetGrantedBy()),
			text(ago(now, g.GetGrantedAt().AsTime())), text(until), text(g.GetReason()), text(ended))
	}
	return t.write(w)
}

// ShowGrant says what became of one.
func ShowGrant(w io.Writer, g *nthlayerv1.Grant, what string) error {
	on := "everything"
	if g.GetTeamId() != "" {
		on = "team " + clean(g.GetTeamId())
	}
	until := ""
	if g.GetExpiresAt() != nil && what == "granted" {
		until = " until " + g.GetExpiresAt().AsTime().Local().Format(time.DateTime)
	}
	_, err := fmt.Fprintf(w, "%s: %s as %s on %s%s\n", what, clean(g.GetSubject()), clean(g.GetRole()), on, until)
	return err
}

// ShowRoles writes the roles with their actions.
func ShowRoles(w io.Writer, roles []*nthlayerv1.Role) error {
	t := table{headings: []string{"ROLE", "", "ACTIONS"}}
	for _, r := range roles {
		from := "own"
		if r.GetBuiltIn() {
			from = "built in"
		}
		t.add(text(r.GetRole()), text(from), text(strings.Join(r.GetActions(), " ")))
	}
	return t.write(w)
}

// ShowIdentities writes whose address is whose.
func ShowIdentities(w io.Writer, now time.Time, identities []*nthlayerv1.Identity) error {
	if len(identities) == 0 {
		_, err := fmt.Fprintln(w, "No identities. Link one with: nthlayer access identity link EMAIL SUBJECT")
		return err
	}
	t := table{headings: []string{"EMAIL", "SUBJECT", "LINKED BY", "WHEN"}}
	for _, i := range identities {
		t.add(text(i.GetEmail()), text(i.GetSubject()), text(i.GetLinkedBy()), text(ago(now, i.GetLinkedAt().AsTime())))
	}
	return t.write(w)
}
