package finisher_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
)

// silent announces nothing: its issuer is as good as dead after the append.
type silent struct{}

func (silent) Publish(context.Context, string, events.Envelope, time.Duration) (uint64, error) {
	return 0, fmt.Errorf("%w: dead", events.ErrUnavailable)
}

// What a change entails is announced and recorded whoever made it and died: also what
// happened before any finisher ran.
func TestFinishesWhatChangesEntail(t *testing.T) {
	h := newHouse(t)
	by := events.Initiator{Role: "operator", Name: "olga"}
	hasher, err1 := password.New(password.Config{Memory: 64, Time: 1})
	journal, err2 := eventstore.NewJournal(h.server.Connect(t, topology.Issuer), realm.JournalStream())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	dying := issue.New(issue.Config{Realm: realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }},
		issue.Deps{Journal: journal, Feed: silent{}, Passwords: hasher, Keys: h.keys, Keyer: h.keys.Keyer(), Root: h.keys})
	hash, err := hasher.Hash(t.Context(), word)
	if err != nil {
		t.Fatal(err)
	}
	users := make([]events.Subject, 3)
	for i := range users {
		if users[i], err = dying.Register(t.Context(), fmt.Sprintf("user %d", i), hash, nil); err != nil {
			t.Fatal(err)
		}
	}
	changes := []struct {
		kind   events.Kind
		target string
		scope  events.Scope
		change func() error
	}{
		{events.KindSubject, string(users[0]), events.ScopeSessions, func() error {
			_, err := dying.SetStatus(t.Context(), users[0], issue.Status{By: by})
			return err
		}},
		{events.KindSubject, string(users[1]), events.ScopeSessions, func() error {
			_, err := dying.SetPassword(t.Context(), users[1], "looking-glass", by)
			return err
		}},
		{events.KindSubject, string(users[2]), events.ScopeAccessTokens, func() error {
			_, err := dying.SetRoles(t.Context(), users[2], []string{"editor"}, by)
			return err
		}},
		{events.KindClient, "an-app", events.ScopeSessions, func() error {
			_, err := dying.SetClientStatus(t.Context(), "an-app", issue.Status{By: by})
			return err
		}},
	}
	for i, c := range changes {
		if err := c.change(); !errors.Is(err, events.ErrUnavailable) {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	log, metrics := h.finish(t)
	for i, c := range changes {
		key := h.keys.Keyer().Key(c.kind, issuer, c.target)
		changed := realm.User(key)
		if c.kind == events.KindClient {
			changed = realm.Client(key)
		}
		want := h.last(t, realm.JournalStream(), changed)
		eventstest.Eventually(t, func(context.Context) error {
			recorded, err := h.lookUp(t, realm.JournalStream(), realm.Cut(c.kind, key))
			if err != nil {
				return err
			}
			cuts, ok := recorded.Envelope.Event.(events.CutsRecorded)
			if !ok || len(cuts.Cuts) != 1 || cuts.Cuts[0].Cut != want.Position || cuts.Cuts[0].Scope != c.scope {
				t.Fatalf("change %d: recorded %+v, changed at %d", i, recorded.Envelope.Event, want.Position.Sequence)
			}
			return nil
		})
		if n := h.announced(t, c.kind, c.target); n.Cut != want.Position || n.Scope != c.scope || n.By != by {
			t.Errorf("change %d: announced %+v", i, n)
		}
	}
	eventstest.Eventually(t, func(context.Context) error {
		// Each change once, and once more what it announced, which AUDIT brings. Users
		// who were only registered are nobody's business.
		if n := count(t, metrics, "finished"); n != 8 {
			return fmt.Errorf("%v events finished", n)
		}
		return nil
	})
	if n := count(t, metrics, "retried") + count(t, metrics, "parked"); n > 0 {
		t.Errorf("%v events were not finished at once: %v", n, log.All())
	}
}

// announced is the last revocation of a target on the feed; other targets may share
// its subject.
func (h house) announced(t *testing.T, kind events.Kind, target string) (last events.Revocation) {
	t.Helper()
	for record, err := range h.feed.Entries(t.Context(), 0, time.Time{}, realm.FeedEntry(kind, issuer, target)) {
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := record.Envelope.Event.(events.Revoked); ok && r.Revocation.Target == target {
			last = r.Revocation
		}
	}
	return last
}

// last is the last message on a subject.
func (h house) last(t *testing.T, stream, subject string) events.Record {
	t.Helper()
	r, err := h.lookUp(t, stream, subject)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (h house) lookUp(t *testing.T, stream, subject string) (events.Record, error) {
	t.Helper()
	s, err := h.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(t.Context(), subject)
	if err != nil {
		return events.Record{}, err
	}
	e, err := codec.Decode(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	return events.Record{Position: events.Position{Sequence: m.Sequence}, Envelope: e}, nil
}
