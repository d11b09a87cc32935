package issue_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
)

func chosenID() events.RevocationID { return events.RevocationID(uuid.NewString()) }

// A caller who chose the id may ask again: what stands is answered as it stands and
// nothing is announced, whatever has happened to the target since.
func TestAskingAgainAnnouncesNothing(t *testing.T) {
	r := newRealm(t)
	c := r.clocked(t)
	g := login(t, c.Service)
	me, err := c.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]issue.Revocation{
		"token":           {Kind: events.KindToken, Target: "j"},
		"session":         {Kind: events.KindSession, Target: string(login(t, c.Service).Session)},
		"session gone":    {Kind: events.KindSession, Target: freshID()},
		"subject":         {Kind: events.KindSubject, Target: string(me.Subject)},
		"client":          {Kind: events.KindClient, Target: "c"},
		"access tokens":   {Kind: events.KindClient, Target: "d", Scope: events.ScopeAccessTokens},
		"key":             {Kind: events.KindKey, Target: "k"},
		"foreign token":   {Kind: events.KindToken, Issuer: foreign, Target: "j"},
		"foreign session": {Kind: events.KindSession, Issuer: foreign, Target: "s"},
		"foreign subject": {Kind: events.KindSubject, Issuer: foreign, Target: "u"},
	} {
		t.Run(name, func(t *testing.T) {
			ask.ID, ask.Reason, ask.By = chosenID(), "test", operator
			first, err := c.Revoke(t.Context(), ask)
			if err != nil || first.FeedSequence == 0 || first.Revocation.ID != ask.ID {
				t.Fatalf("%+v, %v", first, err)
			}
			if ask.Kind.Wide() { // something else happens that denies all that and more
				other := ask
				other.ID = ""
				if _, err := c.Revoke(t.Context(), other); err != nil {
					t.Fatal(err)
				}
			}
			before := len(r.announced(t, c))
			again, err := c.Revoke(t.Context(), ask)
			if err != nil || again.Revocation.ID != ask.ID || again.FeedSequence != 0 || again.Revocation.Cut != first.Revocation.Cut {
				t.Errorf("again: %+v, %v", again, err)
			}
			if got := len(r.announced(t, c)); got != before {
				t.Errorf("announced %d times more", got-before)
			}
		})
	}
}

// Another issuer's token that was revoked for a moment is not thereby revoked for as long
// as it lives.
func TestAShortRevocationDoesNotStandForALongOne(t *testing.T) {
	r := newRealm(t)
	c := r.clocked(t)
	ask := issue.Revocation{ID: chosenID(), Kind: events.KindToken, Issuer: foreign, Target: "j", Until: c.now().Add(time.Minute)}
	if got := c.lasts(t, ask); !about(got, time.Minute) {
		t.Fatalf("for a minute: %s", got)
	}
	ask.ID, ask.Until = chosenID(), time.Time{}
	if got := c.lasts(t, ask); !about(got, 3*time.Hour+overrun) {
		t.Errorf("for as long as it lives: %s", got)
	}
}

// What stays in the way of a second cut is that the id is known: the session begun in
// between lives.
func TestAskingAgainEndsNoNewSession(t *testing.T) {
	r := newRealm(t)
	c := r.clocked(t)
	me, err := c.Authenticate(t.Context(), login(t, c.Service).AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	ask := issue.Revocation{ID: chosenID(), Kind: events.KindSubject, Target: string(me.Subject), Reason: "test", By: operator}
	for _, c.ahead = range []time.Duration{0, time.Hour, 2 * time.Hour, 23 * time.Hour} {
		if done, err := c.Revoke(t.Context(), ask); err != nil || (done.FeedSequence == 0) != (c.ahead > 0) {
			t.Fatalf("after %s: %+v, %v", c.ahead, done, err)
		}
		login(t, c.Service)
		g := login(t, c.Service)
		if _, err := c.Revoke(t.Context(), ask); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Refresh(t.Context(), use(g.RefreshToken)); err != nil {
			t.Errorf("after %s: %v", c.ahead, err)
		}
		me.Session = g.Session
		if err := c.EndAll(t.Context(), me, true); err != nil {
			t.Fatal(err)
		}
	}
}

// The same asked at once, of two issuers, is done once or twice to the same effect.
func TestAskingTwiceAtOnce(t *testing.T) {
	r := newRealm(t)
	a, b := r.clocked(t), r.clocked(t)
	for i := range 5 {
		ask := issue.Revocation{ID: chosenID(), Kind: events.KindClient, Target: fmt.Sprint("c", i), Reason: "test", By: operator}
		var group sync.WaitGroup
		for _, c := range []*clocked{a, b, a, b} {
			group.Go(func() {
				if done, err := c.Revoke(t.Context(), ask); err != nil || done.Revocation.ID != ask.ID {
					t.Errorf("%+v, %v", done, err)
				}
			})
		}
		group.Wait()
		again, err := a.Revoke(t.Context(), ask)
		if err != nil || again.FeedSequence != 0 {
			t.Errorf("%+v, %v", again, err)
		}
	}
}

// What was lifted is not revoked again by whoever repeats a request; by another
// request it is.
func TestAskingAgainAfterALift(t *testing.T) {
	r := newRealm(t)
	c := r.clocked(t)
	ask := issue.Revocation{ID: chosenID(), Kind: events.KindClient, Target: "c", Reason: "test", By: operator}
	if _, err := c.Revoke(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Lift(t.Context(), ask.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Revoke(t.Context(), ask); !errors.Is(err, issue.ErrLifted) {
		t.Errorf("repeated: %v", err)
	}
	ask.ID = ""
	if done, err := c.Revoke(t.Context(), ask); err != nil || done.FeedSequence == 0 {
		t.Errorf("anew: %+v, %v", done, err)
	}
}

// A replica that has not heard of a lift does not make an issuer say that a token is
// revoked when it is not.
func TestALaggingReplicaRevokesAnew(t *testing.T) {
	s := newStreet(t)
	ask := issue.Revocation{Kind: events.KindToken, Target: jtiOf(t, s.grants["bob"].AccessToken), Reason: "test", By: operator}
	done, err := s.Revoke(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	subject := "revocast.test.journal.cut.token.*"
	stale, err := s.Journal.Load(t.Context(), events.Position{}, subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.lift(t, done.Revocation.ID); err != nil {
		t.Fatal(err)
	}
	s.answers = func(atLeast events.Position) []events.Record {
		if atLeast.IsZero() {
			return stale
		}
		return nil
	}
	if again, err := s.Revoke(t.Context(), ask); err != nil || again.FeedSequence == 0 {
		t.Fatalf("%+v, %v", again, err)
	}
	s.answers = nil
	if denied, _ := s.denied(t); !slices.Equal(denied, []string{"bob"}) {
		t.Errorf("denies %v", denied)
	}
}

// A dry run counts what lives and would end, and writes nothing.
func TestEstimates(t *testing.T) {
	s := newStreet(t)
	if _, err := s.Revoke(t.Context(), issue.Revocation{Kind: events.KindSession, Target: string(s.grants["laptop"].Session), Reason: "test", By: operator}); err != nil {
		t.Fatal(err)
	}
	gone := login(t, s.Service)
	if err := s.EndOwn(t.Context(), issue.Caller{Subject: s.alice}, gone.Session); err != nil {
		t.Fatal(err)
	}
	wrote := 0
	s.refuses = func(events.Append) error { wrote++; return nil }
	s.publishes = func() error { wrote++; return nil }
	access := events.ScopeAccessTokens
	for name, c := range map[string]struct {
		r                  issue.Revocation
		sessions, renewing int
		partly             bool
	}{
		"token":                    {r: issue.Revocation{Kind: events.KindToken, Target: "j"}},
		"key":                      {r: issue.Revocation{Kind: events.KindKey, Target: "k"}},
		"session":                  {r: issue.Revocation{Kind: events.KindSession, Target: string(s.grants["phone"].Session)}, sessions: 1},
		"session over":             {r: issue.Revocation{Kind: events.KindSession, Target: string(s.grants["laptop"].Session)}},
		"session of nobody":        {r: issue.Revocation{Kind: events.KindSession, Target: freshID()}},
		"subject":                  {r: issue.Revocation{Kind: events.KindSubject, Target: string(s.alice)}, sessions: 2},
		"subject but one":          {r: issue.Revocation{Kind: events.KindSubject, Target: string(s.alice), Except: s.grants["phone"].Session}, sessions: 1},
		"subject's tokens":         {r: issue.Revocation{Kind: events.KindSubject, Target: string(s.alice), Scope: access}, renewing: 2},
		"nobody":                   {r: issue.Revocation{Kind: events.KindSubject, Target: "nobody"}},
		"client":                   {r: issue.Revocation{Kind: events.KindClient, Target: string(client)}, sessions: 2},
		"client's tokens":          {r: issue.Revocation{Kind: events.KindClient, Target: "kiosk", Scope: access}, renewing: 1},
		"everyone":                 {r: issue.Revocation{Kind: events.KindAll}, sessions: 3},
		"another issuer's subject": {r: issue.Revocation{Kind: events.KindSubject, Issuer: foreign, Target: string(s.alice)}, partly: true},
	} {
		e, err := s.Estimate(t.Context(), c.r)
		if err != nil || e.Sessions != c.sessions || e.Renewing != c.renewing || e.Complete == c.partly || e.Until.Before(time.Now()) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	if wrote > 0 {
		t.Errorf("%d writes", wrote)
	}
	s.refuses, s.publishes = nil, nil
	if denied, over := s.denied(t); !slices.Equal(over, []string{"laptop"}) || !slices.Equal(denied, []string{"laptop"}) {
		t.Errorf("denies %v, ended %v", denied, over)
	}
	// What another revocation has ended is not counted twice.
	for _, c := range []issue.Revocation{
		{Kind: events.KindClient, Target: "kiosk"}, {Kind: events.KindSubject, Target: string(s.alice)},
	} {
		c.Reason, c.By = "test", operator
		if _, err := s.Revoke(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := s.Estimate(t.Context(), issue.Revocation{Kind: events.KindAll}); err != nil || e.Sessions != 1 {
		t.Errorf("when only bob is left: %+v, %v", e, err)
	}
	if _, err := s.Estimate(t.Context(), issue.Revocation{Kind: events.KindAll, Until: time.Now()}); !errors.Is(err, issue.ErrExpiry) {
		t.Errorf("with an expiry in vain: %v", err)
	}
}

// The list pages through what stands, oldest first.
func TestRevocationsAreListed(t *testing.T) {
	r := newRealm(t)
	c := r.clocked(t)
	var want []string
	for i := range 7 {
		done, err := c.Revoke(t.Context(), issue.Revocation{Kind: events.KindToken, Target: fmt.Sprint("j", i), Reason: "test", By: operator})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, done.Revocation.Target)
		if i == 3 {
			if _, err := c.Lift(t.Context(), done.Revocation.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := c.Revoke(t.Context(), issue.Revocation{Kind: events.KindClient, Target: "j3", Reason: "test", By: operator}); err != nil {
		t.Fatal(err)
	}
	pages := func(q issue.Query) (names []string, lifted int) {
		t.Helper()
		for n := 0; ; n++ {
			page, err := c.Revocations(t.Context(), q)
			if err != nil || len(page.Revocations) > q.Limit || n > 10 {
				t.Fatal(page, err)
			}
			for _, s := range page.Revocations {
				names = append(names, s.Target)
				if s.Lifted {
					lifted++
				}
				if s.Sequence <= q.After || s.At.IsZero() {
					t.Errorf("%d at %v after %d", s.Sequence, s.At, q.After)
				}
			}
			if page.Next == 0 {
				return names, lifted
			}
			q.After = page.Next
		}
	}
	for name, q := range map[string]struct {
		issue.Query

		want   []string
		lifted int
	}{
		"all":           {issue.Query{Limit: 100}, append(slices.Clone(want), "j3"), 1},
		"in pages":      {issue.Query{Limit: 3}, append(slices.Clone(want), "j3"), 1},
		"page by page":  {issue.Query{Limit: 8}, append(slices.Clone(want), "j3"), 1},
		"tokens":        {issue.Query{Kind: events.KindToken, Limit: 2}, want, 1},
		"by name":       {issue.Query{Target: "j3", Limit: 2}, []string{"j3", "j3"}, 1},
		"of both":       {issue.Query{Kind: events.KindClient, Target: "j3", Limit: 2}, []string{"j3"}, 0},
		"nobody's":      {issue.Query{Target: "x", Limit: 2}, nil, 0},
		"no such kinds": {issue.Query{Kind: events.KindKey, Limit: 2}, nil, 0},
	} {
		if names, lifted := pages(q.Query); !slices.Equal(names, q.want) || lifted != q.lifted {
			t.Errorf("%s: %v, %d lifted", name, names, lifted)
		}
	}
	c.ahead = time.Hour
	if names, _ := pages(issue.Query{Limit: 10}); names != nil {
		t.Errorf("what has expired: %v", names)
	}
}
