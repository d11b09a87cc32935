package issue_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
)

// Of any number of calls for one message one succeeds, on whichever replica; later
// ones, also of a replica that starts only then, find that it was taken.
func TestAMessageCountsOnce(t *testing.T) {
	r := newRealm(t)
	replicas := []*issue.Service{r.issuer(t), r.issuer(t)}
	at := time.Now().Add(-time.Minute).Truncate(time.Second)
	message := issue.Message{Issuer: foreign, ID: "a jti", Until: time.Now().Add(time.Minute)}
	ask := issue.Revocation{Kind: events.KindSubject, Target: "u", CutTime: at, Reason: "test", By: operator}
	var succeeded atomic.Pointer[issue.Revoked]
	var n atomic.Int32
	var asking sync.WaitGroup
	for i := range 8 {
		asking.Go(func() {
			done, err := replicas[i%2].RevokeOnce(t.Context(), message, ask)
			switch {
			case err == nil:
				n.Add(1)
				succeeded.Store(&done)
			case !errors.Is(err, issue.ErrRepeated):
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if n.Load() != 1 {
		t.Fatalf("%d of eight calls succeeded", n.Load())
	}
	if _, err := r.issuer(t).RevokeOnce(t.Context(), message, ask); !errors.Is(err, issue.ErrRepeated) {
		t.Errorf("later: %v", err)
	}
	all := r.announced(t, r.clocked(t))
	if got := all[len(all)-1]; len(all) != 1 || got.Issuer != foreign || !got.CutTime.Equal(at) || got.ID != succeeded.Load().Revocation.ID {
		t.Errorf("announced: %+v", all)
	}

	for name, other := range map[string]issue.Message{
		"another id":     {Issuer: foreign, ID: "another", Until: message.Until},
		"another issuer": {Issuer: foreign + "/2", ID: message.ID, Until: message.Until},
	} {
		if _, err := replicas[0].RevokeOnce(t.Context(), other, ask); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The same id for something else is the same message all the same.
	ask.Target = "v"
	if _, err := replicas[0].RevokeOnce(t.Context(), message, ask); !errors.Is(err, issue.ErrRepeated) {
		t.Errorf("for another target: %v", err)
	}
}

// What was denied and not recorded is done by the next call, under the same id and
// with the same cut; what was not even denied leaves no trace.
func TestAMessageInterruptedIsTakenAgain(t *testing.T) {
	r := newRealm(t)
	broken := errors.Join(events.ErrUnavailable, errors.New("cut off"))
	for name, breaks := range map[string]faulty{
		"before it was denied":   {publishes: func() error { return broken }},
		"before it was recorded": {refuses: func(events.Append) error { return broken }},
		"before anything":        {refuses: func(events.Append) error { return broken }, publishes: func() error { return broken }},
	} {
		t.Run(name, func(t *testing.T) {
			message := issue.Message{Issuer: foreign, ID: name, Until: time.Now().Add(time.Minute)}
			ask := issue.Revocation{Kind: events.KindSession, Target: name, Reason: "test", By: operator}
			s, f := r.faultyIssuer(t)
			f.publishes, f.refuses = breaks.publishes, breaks.refuses
			if _, err := s.RevokeOnce(t.Context(), message, ask); !errors.Is(err, events.ErrUnavailable) {
				t.Fatalf("interrupted: %v", err)
			}
			first := r.named(t, name)
			if (breaks.publishes == nil) != (len(first) == 1) {
				t.Fatalf("announced: %+v", first)
			}
			done, err := r.issuer(t).RevokeOnce(t.Context(), message, ask)
			if err != nil || done.FeedSequence == 0 {
				t.Fatalf("again: %+v, %v", done, err)
			}
			for _, n := range append(first, r.named(t, name)...) {
				if n.ID != done.Revocation.ID {
					t.Errorf("two ids: %+v and %+v", n, done.Revocation)
				}
			}
			if _, err := r.issuer(t).RevokeOnce(t.Context(), message, ask); !errors.Is(err, issue.ErrRepeated) {
				t.Errorf("a third time: %v", err)
			}
		})
	}
}

// named are the announcements of one target.
func (r *realm) named(t *testing.T, target string) (found []events.Revocation) {
	t.Helper()
	for _, n := range r.announced(t, r.clocked(t)) {
		if n.Target == target {
			found = append(found, n)
		}
	}
	return found
}

// Whose issuer has ended the session is denied as long as its tokens last, and no longer:
// nothing is refreshed any more. What stands on the feed lasts as long as is answered.
func TestAMessageOutlastsTheTokens(t *testing.T) {
	r := newRealm(t)
	c := r.clocked(t)
	for name, ask := range map[string]issue.Revocation{
		"session": {Kind: events.KindSession, Target: "s"},
		"subject": {Kind: events.KindSubject, Target: "u", CutTime: time.Now()},
	} {
		ask.Reason, ask.By = "test", operator
		began := c.now()
		done, err := c.RevokeOnce(t.Context(), issue.Message{Issuer: foreign, ID: name, Until: began.Add(time.Minute)}, ask)
		if err != nil {
			t.Fatal(err)
		}
		if got := done.Revocation.Until.Sub(began); !about(got, 3*time.Hour+overrun) {
			t.Errorf("%s: %s", name, got)
		}
		if stands := r.named(t, ask.Target); len(stands) != 1 || stands[0].Until.Before(done.Revocation.Until) {
			t.Errorf("%s: announced %+v, answered %s", name, stands, done.Revocation.Until)
		}
	}
}

// The time of a cut counts for another issuer's tokens and for no others.
func TestCutsByTime(t *testing.T) {
	r := newRealm(t)
	c := r.clocked(t)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, kind := range []events.Kind{events.KindSubject, events.KindClient, events.KindAll} {
		ask := issue.Revocation{Kind: kind, Issuer: foreign, Target: "x", CutTime: at, Reason: "test", By: operator}
		if kind == events.KindAll {
			ask.Target = ""
		}
		done, err := c.Revoke(t.Context(), ask)
		if err != nil || !done.Revocation.CutTime.Equal(at) || !done.Revocation.Cut.IsZero() {
			t.Errorf("%s: %+v, %v", kind, done.Revocation, err)
		}
		ask.Issuer = ""
		if done, err = c.Revoke(t.Context(), ask); err != nil || done.Revocation.CutTime.Equal(at) || done.Revocation.Cut.IsZero() {
			t.Errorf("our %s: %+v, %v", kind, done.Revocation, err)
		}
	}
}
