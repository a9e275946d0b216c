package pagerduty_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
)

func addresses(from, to int) []string {
	var list []string
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf("p%d@EXAMPLE.org ", i))
	}
	return list
}

func ids(users []ownership.User) []string {
	var list []string
	for _, u := range users {
		list = append(list, u.ID)
	}
	return list
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func withClock(c *clock) func(*pagerduty.Config) {
	return func(cfg *pagerduty.Config) { cfg.Now = c.Now }
}

func TestFindUsers_Few_AreAskedForOneByOneAndMatchedExactly(t *testing.T) {
	a := newAccount()
	a.people(300)
	for i := 1000; i < 1120; i++ {
		namesake := person(i)
		namesake["email"] = fmt.Sprintf("%dp1@example.org", i)
		a.lists["/users"] = append(a.lists["/users"], namesake)
	}
	c := a.client(t)
	got, err := c.FindUsers(t.Context(), []string{"P1@example.org", "p2@example.org", "p2@EXAMPLE.ORG", "", "nobody@example.org"})
	require.NoError(t, err)
	require.Equal(t, []string{"PU0001", "PU0002"}, ids(got), "part of an address is not the address")
	require.Equal(t, 4, a.count(), "two pages for p1@, which is part of 121 addresses")
}

func TestFindUsers_Many_ReadEverybodyOnceForAll(t *testing.T) {
	a := newAccount()
	a.people(666)
	c := a.client(t)
	got, err := c.FindUsers(t.Context(), addresses(0, 40))
	require.NoError(t, err)
	require.Len(t, got, 40)
	require.Equal(t, 7, a.count())

	for i := range 50 { // a fleet of runs
		got, err = c.FindUsers(t.Context(), append(addresses(i*10, i*10+12), "nobody@example.org"))
		require.NoError(t, err)
		require.Len(t, got, 12)
	}
	require.Equal(t, 7, a.count(), "nobody asks again")
}

func TestFindUsers_OneByOneForLong_EndsInReadingEverybody(t *testing.T) {
	a := newAccount()
	a.people(300)
	c := a.client(t)
	for i := 100; i < 180; i++ {
		got, err := c.FindUsers(t.Context(), addresses(i, i+1))
		require.NoError(t, err)
		require.Len(t, got, 1)
	}
	require.LessOrEqual(t, a.count(), 10+3)
}

func TestFindUsers_TwoAccountsWithOneAddress_BothComeBack(t *testing.T) {
	a := newAccount()
	a.people(3)
	twin := person(9)
	twin["email"] = "p1@Example.ORG"
	a.lists["/users"] = append(a.lists["/users"], twin)
	for name, wanted := range map[string][]string{"asked": addresses(1, 2), "walked": addresses(0, 30)} {
		got, err := a.client(t).FindUsers(t.Context(), wanted)
		require.NoError(t, err, name)
		require.Subset(t, ids(got), []string{"PU0001", "PU0009"}, name)
	}
}

func TestFindUsers_AbsenceIsForgottenSoon_PresenceLater(t *testing.T) {
	a := newAccount()
	a.people(1)
	watch := &clock{now: time.Unix(1_800_000_000, 0)}
	c := a.client(t, withClock(watch))
	wanted := addresses(0, 2)
	got, err := c.FindUsers(t.Context(), wanted)
	require.NoError(t, err)
	require.Equal(t, []string{"PU0000"}, ids(got))

	a.mu.Lock()
	a.lists["/users"] = append(a.lists["/users"], person(1))
	a.mu.Unlock()
	watch.pass(31 * time.Second)
	before := a.count()
	got, err = c.FindUsers(t.Context(), wanted)
	require.NoError(t, err)
	require.Equal(t, []string{"PU0000", "PU0001"}, ids(got))
	require.Equal(t, before+1, a.count(), "only the missing one is asked for")

	watch.pass(6 * time.Minute)
	_, err = c.FindUsers(t.Context(), wanted)
	require.NoError(t, err)
	require.Equal(t, before+3, a.count())
}

func TestFindUsers_MoreUsersThanOffsetsReach_AreAskedForOneByOne(t *testing.T) {
	a := newAccount()
	a.people(10_001)
	c := a.client(t)
	got, err := c.FindUsers(t.Context(), addresses(9_000, 9_012))
	require.NoError(t, err)
	require.Len(t, got, 12)
	require.Equal(t, 1+12, a.count())
	_, err = c.FindUsers(t.Context(), addresses(9_100, 9_102))
	require.NoError(t, err)
	require.Equal(t, 1+12+2, a.count(), "it is remembered that there are too many")
}

func TestFindUsers_TogetherAtOnce_ShareOneRead(t *testing.T) {
	a := newAccount()
	a.people(500)
	c := a.client(t)
	var done sync.WaitGroup
	for range 20 {
		done.Go(func() {
			got, err := c.FindUsers(t.Context(), addresses(0, 100))
			if err != nil || len(got) != 100 {
				t.Errorf("%d users, %v", len(got), err)
			}
		})
	}
	done.Wait()
	require.Equal(t, 5, a.count())
}

func TestFindUsers_TheOneWhoReadsGivesUp_OthersStillGetTheirAnswer(t *testing.T) {
	a := newAccount()
	a.people(1)
	began, gone := make(chan struct{}), make(chan struct{})
	var once sync.Once
	block := func(w http.ResponseWriter, r *http.Request) {
		first := false
		once.Do(func() { first = true })
		if !first {
			says(200, `{"users":[{"id":"PU0000","email":"p0@example.org"}],"more":false,"total":1}`)(w, r)
			return
		}
		close(began)
		<-gone
	}
	a.overrides["GET /users"] = func(w http.ResponseWriter, r *http.Request) {
		a.mu.Unlock() // ServeHTTP holds it; two requests must be inside at once
		defer a.mu.Lock()
		block(w, r)
	}
	c := a.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		_, err := c.FindUsers(ctx, addresses(0, 1))
		if !fault.Is(err, fault.Canceled) {
			t.Errorf("the one who gave up: %v", err)
		}
	})
	<-began
	done.Go(func() {
		got, err := c.FindUsers(t.Context(), addresses(0, 1))
		if err != nil || len(got) != 1 {
			t.Errorf("the other: %d users, %v", len(got), err)
		}
	})
	cancel()
	done.Wait()
	close(gone)
}

func TestFindUsers_FailedRead_IsAnErrorNeverNobody(t *testing.T) {
	a := newAccount()
	a.overrides["GET /users"] = says(500, ``)
	c := a.client(t)
	_, err := c.FindUsers(t.Context(), addresses(0, 1))
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	_, err = c.FindUsers(t.Context(), addresses(0, 50))
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}
