package pagerduty

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	pd "github.com/PagerDuty/go-pagerduty"
	"golang.org/x/sync/singleflight"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

const routeUsers = "/users"

// guessedPages stands for the length of the user list before it was first read: 1,000 users.
const guessedPages = 10

// FindUsers gives the users with exactly these addresses, after normalising; an address without a user is left out,
// and two users with the same address both come back.
//
// Look-ups are remembered and shared by concurrent callers. A few addresses are asked for one by one; once that would
// have cost as many calls as reading all users does, all users are read instead.
func (c *Client) FindUsers(ctx context.Context, emails []string) ([]ownership.User, error) {
	return c.users.find(ctx, emails)
}

// directory is the memory behind FindUsers.
type directory struct {
	client  *Client
	found   time.Duration
	missing time.Duration
	limit   int
	now     func() time.Time
	flights singleflight.Group

	mu       sync.Mutex
	byEmail  map[string]entry
	walkedAt time.Time // when all users were read
	pages    int       // what reading them costs
	endless  bool      // there are more users than a walk reaches
	asked    int       // single look-ups since the last walk
}

type entry struct {
	users []ownership.User // none: nobody has the address
	at    time.Time
}

func newDirectory(c *Client, cfg Config) *directory {
	d := &directory{
		client:  c,
		found:   cmp.Or(cfg.UsersFor, 5*time.Minute),
		missing: cmp.Or(cfg.NobodyFor, 30*time.Second),
		limit:   cmp.Or(cfg.UsersLimit, 20_000),
		now:     cfg.Now,
		byEmail: map[string]entry{},
		pages:   guessedPages,
	}
	if d.now == nil {
		d.now = time.Now
	}
	return d
}

func (d *directory) find(ctx context.Context, emails []string) ([]ownership.User, error) {
	wanted := distinct(emails)
	found, open := d.remembered(wanted)
	if len(open) > 0 && d.walkPays(len(open)) {
		_, err := d.shared(ctx, "*", d.walk)
		switch {
		case errors.Is(err, errTooDeep): // ask one by one, now and from now on
		case err != nil:
			return nil, fmt.Errorf("read users from pagerduty: %w", err)
		default:
			found, open = d.remembered(wanted)
		}
	}
	for _, email := range open {
		users, err := d.shared(ctx, email, func(ctx context.Context) ([]ownership.User, error) { return d.ask(ctx, email) })
		if err != nil {
			return nil, fmt.Errorf("find user on pagerduty: %w", err)
		}
		found[email] = users
	}
	var users []ownership.User
	for _, email := range wanted {
		users = append(users, found[email]...)
	}
	return users, nil
}

// lookup reads from PagerDuty into the directory.
type lookup func(context.Context) ([]ownership.User, error)

// shared runs a look-up once for all who need it now. When it fails because the one who ran it gave up, or lost the right to
// go on, the others do not fail with it.
func (d *directory) shared(ctx context.Context, key string, look lookup) ([]ownership.User, error) {
	flight := d.flights.DoChan(key, func() (any, error) { return look(ctx) })
	select {
	case <-ctx.Done():
		kind := fault.Canceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			kind = fault.Deadline
		}
		return nil, fault.New(kind, "gave up waiting for users of PagerDuty", context.Cause(ctx))
	case landed := <-flight:
		switch fault.KindOf(landed.Err) {
		case fault.Canceled, fault.Deadline, fault.Throttled, fault.Fenced:
			if landed.Err != nil && landed.Shared && ctx.Err() == nil {
				return look(ctx)
			}
		}
		users, _ := landed.Val.([]ownership.User)
		return users, landed.Err
	}
}

// walk reads all users; they are to be found in the directory then.
func (d *directory) walk(ctx context.Context) ([]ownership.User, error) {
	if d.justWalked() { // by a flight that landed after the caller looked
		return nil, nil
	}
	rows, err := read(ctx, d.client, list{route: routeUsers, path: "/users", key: "users"}, func(u pd.User) string { return u.ID })
	if errors.Is(err, errTooDeep) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.endless = true
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	now := d.now()
	fresh := make(map[string]entry, len(rows))
	for _, row := range rows {
		email := ownership.NormalizeEmail(row.Email)
		fresh[email] = entry{users: append(fresh[email].users, user(row)), at: now}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byEmail, d.walkedAt, d.asked = fresh, now, 0
	d.pages = max(1, (len(rows)+pageLimit-1)/pageLimit)
	return nil, nil
}

// ask looks one address up. The API's query matches parts of names and addresses, so rows are compared exactly.
func (d *directory) ask(ctx context.Context, email string) ([]ownership.User, error) {
	rows, err := read(ctx, d.client, list{
		route: routeUsers, path: "/users", key: "users", query: url.Values{"query": {email}},
	}, func(u pd.User) string { return u.ID })
	if err != nil {
		return nil, err
	}
	found := entry{at: d.now()}
	for _, row := range rows {
		if ownership.NormalizeEmail(row.Email) == email {
			found.users = append(found.users, user(row))
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.byEmail) >= d.limit {
		clear(d.byEmail)
		d.walkedAt = time.Time{}
	}
	d.byEmail[email] = found
	d.asked++
	return found.users, nil
}

// remembered splits addresses into those known and those to look up.
func (d *directory) remembered(emails []string) (found map[string][]ownership.User, open []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	found = map[string][]ownership.User{}
	for _, email := range emails {
		e, known := d.byEmail[email]
		if !known { // a recent walk did not meet it: nobody has it
			e.at = d.walkedAt
		}
		keep := d.found
		if len(e.users) == 0 {
			keep = d.missing
		}
		if now.Sub(e.at) < keep {
			found[email] = e.users
		} else {
			open = append(open, email)
		}
	}
	return found, open
}

func (d *directory) justWalked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now().Sub(d.walkedAt) < d.missing
}

func (d *directory) walkPays(open int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.endless && d.asked+open > d.pages
}

func distinct(emails []string) []string {
	seen := map[string]bool{"": true}
	var list []string
	for _, email := range emails {
		email = ownership.NormalizeEmail(email)
		if !seen[email] {
			seen[email] = true
			list = append(list, email)
		}
	}
	return list
}
