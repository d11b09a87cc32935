package session_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

func TestMakeRoom(t *testing.T) {
	living := func(id events.SessionID, began uint64) session.State {
		n := begin()
		n.ID, n.Began, n.IdleLimit = id, events.Position{Sequence: began}, time.Hour
		return session.State{Session: n, RotatedAt: noon}
	}
	changed := func(s session.State, f func(*session.State)) session.State {
		f(&s)
		return s
	}
	a, b, c := living("a", 1), living("b", 2), living("c", 3)
	ended := changed(living("ended", 1), func(s *session.State) { s.Session.Ended = &events.Ending{} })
	cut := changed(living("cut", 1), func(s *session.State) {
		s.Cuts = []events.Revocation{{Kind: events.KindAll, Issuer: s.Session.Issuer}}
	})
	old := changed(living("old", 1), func(s *session.State) { s.User.Version = 2 })
	other := changed(living("other", 1), func(s *session.State) { s.Session.Client = "another" })
	idle := func(over time.Duration) session.State {
		return changed(living("idle", 1), func(s *session.State) { s.RotatedAt = noon.Add(-time.Hour - over) })
	}
	for _, l := range []struct {
		name     string
		all      []session.State
		most     int
		onLimit  session.OnLimit
		replaces events.SessionID
		want     string // who leaves, in order
		err      error
	}{
		{name: "no limit", all: []session.State{a, b, c}},
		{name: "room", all: []session.State{a, b}, most: 3},
		{name: "none is room", most: 1},
		{name: "full", all: []session.State{a, b, c}, most: 3, err: session.ErrLimit},
		{name: "full, oldest leaves", all: []session.State{c, a, b}, most: 3, onLimit: session.EvictOldest, want: "a"},
		{name: "one at a time", all: []session.State{c, b, a}, most: 1, onLimit: session.EvictOldest, want: "a b c"},
		{name: "a limit that came later", all: []session.State{c, b, a}, most: 2, onLimit: session.EvictOldest, want: "a b"},
		{name: "an unknown policy", all: []session.State{a}, most: 1, onLimit: 99, err: session.ErrLimit},
		{name: "what has ended is not counted", all: []session.State{ended, cut, old, other, {}, a}, most: 2},
		{name: "what has expired is not counted", all: []session.State{idle(time.Minute), a}, most: 2},
		{name: "what may still be refreshed is", all: []session.State{idle(10 * time.Second), a}, most: 2, onLimit: session.EvictOldest, want: "idle"},
		{name: "the one taken over leaves", all: []session.State{a, b}, replaces: "b", want: "b"},
		{name: "and gives its place", all: []session.State{a}, most: 1, replaces: "a", want: "a"},
		{name: "and no other", all: []session.State{a, b}, most: 1, replaces: "a", err: session.ErrLimit},
		{name: "it leaves first", all: []session.State{a, b, c}, most: 2, onLimit: session.EvictOldest, replaces: "c", want: "c a"},
		{name: "it has ended already", all: []session.State{ended}, most: 1, replaces: "ended"},
	} {
		t.Run(l.name, func(t *testing.T) {
			n := begin()
			n.Replaces = l.replaces
			p := policy()
			p.MaxSessions, p.OnLimit = l.most, l.onLimit
			leaving, err := session.MakeRoom(l.all, n, p, noon)
			var names []string
			for _, s := range leaving {
				names = append(names, string(s.Session.ID))
			}
			if got := strings.Join(names, " "); got != l.want || !errors.Is(err, l.err) {
				t.Errorf("%q leave, %v; want %q, %v", got, err, l.want, l.err)
			}
		})
	}
	// A barrier's time does not shorten how long a session counts.
	behind := changed(idle(10*time.Second), func(s *session.State) { s.Now = noon })
	p := policy()
	p.MaxSessions = 1
	if _, err := session.MakeRoom([]session.State{behind}, begin(), p, noon); !errors.Is(err, session.ErrLimit) {
		t.Errorf("behind a barrier: %v", err)
	}
}

func TestNewDevice(t *testing.T) {
	with := func(ids ...string) (all []session.State) {
		for _, id := range ids {
			all = append(all, session.State{Session: events.Session{DeviceID: id}})
		}
		return all
	}
	for _, c := range []struct {
		known []string
		id    string
		want  bool
	}{
		{nil, "phone", false}, // the first of all
		{[]string{"laptop"}, "phone", true},
		{[]string{"", ""}, "phone", true},
		{[]string{"laptop", "phone"}, "phone", false},
		{[]string{"laptop"}, "", false},
	} {
		if got := session.NewDevice(with(c.known...), c.id); got != c.want {
			t.Errorf("%q beside %q: %t", c.id, c.known, got)
		}
	}
}

func TestDeviceIDRequired(t *testing.T) {
	p := policy()
	p.DeviceIDRequired = true
	n := begin()
	if e, err := session.Decide(session.State{}, session.Start{Session: n, Policy: p}, noon); e != nil || !errors.Is(err, session.ErrDevice) {
		t.Errorf("without: %v, %v", e, err)
	}
	n.DeviceID = "phone"
	if _, err := session.Decide(session.State{}, session.Start{Session: n, Policy: p}, noon); err != nil {
		t.Errorf("with: %v", err)
	}
}

func TestGrades(t *testing.T) {
	const scope = "orders.read payments orders.write"
	p := policy()
	p.HighGradeFor, p.HighGradeScopes = 10*time.Minute, []string{"payments"}
	at := func(minted time.Duration) session.Grade {
		n := begin()
		n.AuthTime, n.MintedAt = noon.Add(300*time.Millisecond), noon.Add(minted)
		return session.GradeOf(p, n, scope, n.MintedAt.Add(p.AccessTTL))
	}
	for _, c := range []struct {
		minted  time.Duration
		acr     string
		expires time.Duration
	}{
		{0, session.ACRHigh, 5 * time.Minute},
		{4 * time.Minute, session.ACRHigh, 9 * time.Minute},
		{8 * time.Minute, session.ACRHigh, 10 * time.Minute},
		{10*time.Minute - 1, session.ACRHigh, 10 * time.Minute},
		{10 * time.Minute, session.ACRLow, 15 * time.Minute},
		{10*time.Minute + 900*time.Millisecond, session.ACRLow, 15*time.Minute + 900*time.Millisecond},
		{time.Hour, session.ACRLow, 65 * time.Minute},
	} {
		g := at(c.minted)
		if g.ACR != c.acr || !g.Expires.Equal(noon.Add(c.expires)) {
			t.Errorf("after %s: %s until %s, want %s until %s", c.minted, g.ACR, g.Expires.Sub(noon), c.acr, c.expires)
		}
		has := slices.Contains(strings.Fields(g.Scope), "payments")
		if has != (c.acr == session.ACRHigh) || !strings.HasPrefix(g.Scope, "orders.read ") || !strings.HasSuffix(g.Scope, " orders.write") && !has {
			t.Errorf("after %s: scope %q", c.minted, g.Scope)
		}
	}
	p.HighGradeFor = 0
	if g := at(time.Hour); g.ACR != "" || g.Scope != scope {
		t.Errorf("without grades: %+v", g)
	}
}
