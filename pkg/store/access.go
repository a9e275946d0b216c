package store

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// Grants reads everything that is granted now. Three round trips.
func (s *Store) Grants(ctx context.Context) (auth.Grants, error) {
	g := auth.Grants{AsOf: time.Now(), Roles: map[string][]string{}, Identities: map[string]string{}}
	bindings, err := s.q.GrantsInForce(ctx)
	if err != nil {
		return g, wrap(err, "read the grants")
	}
	for _, row := range bindings {
		g.Bindings = append(g.Bindings, bindingFrom(row))
	}
	roles, err := s.q.ListRoles(ctx, false)
	if err != nil {
		return g, wrap(err, "read the roles")
	}
	for _, row := range roles {
		g.Roles[row.Role] = row.Actions
	}
	identities, err := s.q.ListIdentities(ctx, false)
	if err != nil {
		return g, wrap(err, "read the identities")
	}
	for _, row := range identities {
		g.Identities[row.EmailKey] = row.Subject
	}
	return g, nil
}

// NewAccessHub tells when grants have changed; see EventHub.
func (s *Store) NewAccessHub(log *slog.Logger) *EventHub { return s.newHub("access", log) }

func bindingFrom(row db.RoleBinding) auth.Binding {
	return auth.Binding{
		ID: row.BindingID.String(), Subject: row.Subject, Role: row.Role, TeamID: row.TeamID, Reason: row.Reason, GrantedBy: row.GrantedBy,
		GrantedAt: row.GrantedAt, ExpiresAt: row.ExpiresAt, RevokedBy: row.RevokedBy, RevokedAt: row.RevokedAt,
	}
}

// BindingFilter selects bindings; empty fields select all. After is the last binding of the page before.
type BindingFilter struct {
	After   uuid.UUID
	Subject string
	TeamID  string
	Ended   bool // also those that were revoked or have expired
	Limit   int
}

// Bindings lists bindings, newest first.
func (s *Store) Bindings(ctx context.Context, f BindingFilter) ([]auth.Binding, error) {
	rows, err := s.q.ListBindings(ctx, db.ListBindingsParams{
		After: f.After, Subject: f.Subject, TeamID: f.TeamID, Ended: f.Ended, PageSize: int32(f.Limit),
	})
	if err != nil {
		return nil, wrap(err, "list grants")
	}
	bindings := make([]auth.Binding, len(rows))
	for i, row := range rows {
		bindings[i] = bindingFrom(row)
	}
	return bindings, nil
}

// changeAccess changes who may do what, in a transaction: one change after the other, and all gateways are told.
func (s *Store) changeAccess(ctx context.Context, what string, f func(*db.Queries) error) error {
	return s.tx(ctx, what, func(q *db.Queries) error {
		if err := q.LockAccess(ctx); err != nil {
			return err
		}
		if err := f(q); err != nil {
			return err
		}
		return q.TellAccess(ctx)
	})
}

// Bind gives a role. What is given already for as long stays the one binding that it is; for another time it is replaced. One
// transaction, of which all gateways are told.
func (s *Store) Bind(ctx context.Context, b auth.Binding) (bound auth.Binding, err error) {
	id, err := newID()
	if err != nil {
		return bound, err
	}
	err = s.changeAccess(ctx, "grant a role", func(q *db.Queries) error {
		row, err := q.BindingInForce(ctx, db.BindingInForceParams{Subject: b.Subject, Role: b.Role, TeamID: b.TeamID})
		switch {
		case errors.Is(err, pgx.ErrNoRows):
		case err != nil:
			return err
		case sameTime(row.ExpiresAt, b.ExpiresAt):
			bound = bindingFrom(row)
			return nil
		default:
			if _, err := q.RevokeBindings(ctx, db.RevokeBindingsParams{
				Subject: b.Subject, Role: b.Role, TeamID: b.TeamID, RevokedBy: b.GrantedBy,
			}); err != nil {
				return err
			}
		}
		row, err = q.InsertBinding(ctx, db.InsertBindingParams{
			BindingID: id, Subject: b.Subject, Role: b.Role, TeamID: b.TeamID, Reason: b.Reason, GrantedBy: b.GrantedBy, ExpiresAt: b.ExpiresAt,
		})
		if err != nil {
			return err
		}
		bound = bindingFrom(row)
		return nil
	})
	return bound, err
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Truncate(time.Microsecond).Equal(b.Truncate(time.Microsecond))
}

// Unbind takes a role back. Where it is not given, that is a NotFound.
func (s *Store) Unbind(ctx context.Context, subject, role, teamID, by string) (revoked auth.Binding, err error) {
	err = s.changeAccess(ctx, "revoke a role", func(q *db.Queries) error {
		rows, err := q.RevokeBindings(ctx, db.RevokeBindingsParams{Subject: subject, Role: role, TeamID: teamID, RevokedBy: by})
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return fault.New(fault.NotFound, subject+" has no such grant of "+role+"; see: nthlayer access list --subject "+subject, nil).
				WithReason("GRANT_NOT_FOUND")
		}
		revoked = bindingFrom(rows[0])
		return nil
	})
	return revoked, err
}

// CustomRole is a role of the company's own, as it is or was.
type CustomRole struct {
	Role      string
	Actions   []string
	ChangedBy string
	ChangedAt time.Time
	EndedBy   string // who changed or deleted it; empty: it counts
	EndedAt   *time.Time
}

func roleFrom(row db.CustomRole) CustomRole {
	return CustomRole{
		Role: row.Role, Actions: row.Actions, ChangedBy: row.ChangedBy, ChangedAt: row.ChangedAt, EndedBy: row.EndedBy, EndedAt: row.EndedAt,
	}
}

// CustomRoles lists them by name; with those that have ended, the newest of a name first.
func (s *Store) CustomRoles(ctx context.Context, ended bool) ([]CustomRole, error) {
	rows, err := s.q.ListRoles(ctx, ended)
	if err != nil {
		return nil, wrap(err, "list roles")
	}
	roles := make([]CustomRole, len(rows))
	for i, row := range rows {
		roles[i] = roleFrom(row)
	}
	return roles, nil
}

// SetRole makes or changes a role of the company's own. One transaction, of which all gateways are told.
func (s *Store) SetRole(ctx context.Context, role string, actions []string, by string) (saved CustomRole, err error) {
	id, err := newID()
	if err != nil {
		return saved, err
	}
	err = s.changeAccess(ctx, "save a role", func(q *db.Queries) error {
		row, err := q.RoleInForce(ctx, role)
		switch {
		case err == nil && slices.Equal(row.Actions, actions):
			saved = roleFrom(row)
			return nil
		case err != nil && !errors.Is(err, pgx.ErrNoRows):
			return err
		}
		if _, err := q.EndRole(ctx, db.EndRoleParams{Role: role, EndedBy: by}); err != nil {
			return err
		}
		if row, err = q.InsertRole(ctx, db.InsertRoleParams{VersionID: id, Role: role, Actions: actions, ChangedBy: by}); err != nil {
			return err
		}
		saved = roleFrom(row)
		return nil
	})
	return saved, err
}

// DeleteRole ends a role of the company's own that nobody holds.
func (s *Store) DeleteRole(ctx context.Context, role, by string) error {
	return s.changeAccess(ctx, "delete a role", func(q *db.Queries) error {
		used, err := q.RoleInUse(ctx, role)
		if err != nil {
			return err
		}
		if used {
			return fault.New(fault.Precondition, "somebody holds the role "+role+"; revoke that first", nil).WithReason("ROLE_IN_USE")
		}
		n, err := q.EndRole(ctx, db.EndRoleParams{Role: role, EndedBy: by})
		if err != nil {
			return err
		}
		if n == 0 {
			return fault.New(fault.NotFound, "there is no role "+role+" of the company's own", nil).WithReason("ROLE_NOT_FOUND")
		}
		return nil
	})
}

// Identity says whose an e-mail address is, or was.
type Identity struct {
	Email    string // in small letters
	Subject  string
	LinkedBy string
	LinkedAt time.Time
	EndedBy  string // who replaced it or took it back; empty: it counts
	EndedAt  *time.Time
}

func identityFrom(row db.Identity) Identity {
	return Identity{
		Email: row.EmailKey, Subject: row.Subject, LinkedBy: row.LinkedBy, LinkedAt: row.LinkedAt, EndedBy: row.EndedBy, EndedAt: row.EndedAt,
	}
}

// Identities lists them by address; with those that have ended, the newest of an address first.
func (s *Store) Identities(ctx context.Context, ended bool) ([]Identity, error) {
	rows, err := s.q.ListIdentities(ctx, ended)
	if err != nil {
		return nil, wrap(err, "list identities")
	}
	identities := make([]Identity, len(rows))
	for i, row := range rows {
		identities[i] = identityFrom(row)
	}
	return identities, nil
}

// LinkIdentity says whose an address is. One transaction, of which all gateways are told.
func (s *Store) LinkIdentity(ctx context.Context, email, subject, by string) (linked Identity, err error) {
	id, err := newID()
	if err != nil {
		return linked, err
	}
	email = strings.ToLower(email)
	err = s.changeAccess(ctx, "link an identity", func(q *db.Queries) error {
		row, err := q.IdentityInForce(ctx, email)
		switch {
		case err == nil && row.Subject == subject:
			linked = identityFrom(row)
			return nil
		case err != nil && !errors.Is(err, pgx.ErrNoRows):
			return err
		}
		if _, err := q.EndIdentity(ctx, db.EndIdentityParams{EmailKey: email, EndedBy: by}); err != nil {
			return err
		}
		if row, err = q.InsertIdentity(ctx, db.InsertIdentityParams{LinkID: id, EmailKey: email, Subject: subject, LinkedBy: by}); err != nil {
			return err
		}
		linked = identityFrom(row)
		return nil
	})
	return linked, err
}

// UnlinkIdentity takes that back.
func (s *Store) UnlinkIdentity(ctx context.Context, email, by string) error {
	return s.changeAccess(ctx, "unlink an identity", func(q *db.Queries) error {
		n, err := q.EndIdentity(ctx, db.EndIdentityParams{EmailKey: strings.ToLower(email), EndedBy: by})
		if err != nil {
			return err
		}
		if n == 0 {
			return fault.New(fault.NotFound, "the address "+email+" is linked to nobody", nil).WithReason("IDENTITY_NOT_FOUND")
		}
		return nil
	})
}

// Directory tells an auth.Authorizer what it has to know of teams. Roles says which of the source's words mean a manager.
type Directory struct {
	Store *Store
	Roles ownership.RoleMap
}

// TeamOf tells which team something is about: see auth.Teams.
func (d Directory) TeamOf(ctx context.Context, r auth.Resource) (string, error) {
	find, ok := map[string]func(context.Context, uuid.UUID) (string, error){
		"job_id": d.Store.q.TeamOfRun, "letter_id": d.Store.q.TeamOfLetter, "finding_id": d.Store.q.TeamOfFinding,
	}[r.Field]
	id, err := uuid.Parse(r.ID)
	if !ok || err != nil {
		return "", nil //nolint:nilerr // there is nothing with such an id
	}
	team, err := find(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return team, wrap(err, "find the team")
}

// ManagedBy lists the teams of which one of these addresses is declared a manager: see auth.Teams.
func (d Directory) ManagedBy(ctx context.Context, emails []string, teamID string) ([]string, error) {
	rows, err := d.Store.q.MembersNamed(ctx, db.MembersNamedParams{Emails: emails, TeamID: teamID})
	if err != nil {
		return nil, wrap(err, "find the teams that somebody manages")
	}
	var teams []string
	for _, row := range rows {
		var roles []string
		if len(row.Roles) > 0 {
			if err := decode(row.Roles, &roles); err != nil {
				return nil, err
			}
		}
		if d.Roles.Of(roles) == ownership.Manager {
			teams = append(teams, row.TeamID)
		}
	}
	return teams, nil
}
