package issue_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
)

func (s *street) lift(t *testing.T, id events.RevocationID) error {
	t.Helper()
	_, err := s.Lift(t.Context(), id)
	return err
}

// INV-5: lifting one revocation brings back nothing that another has ended, whichever
// came first and however much of the other's work it would have done.
func TestALiftIsOfOneRevocation(t *testing.T) {
	s := newStreet(t)
	me, err := s.Authenticate(t.Context(), s.grants["phone"].AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.EndAll(t.Context(), me, false); err != nil { // she logs out everywhere
		t.Fatal(err)
	}
	by := func(kind events.Kind, target string) events.RevocationID {
		t.Helper()
		done, err := s.Revoke(t.Context(), issue.Revocation{Kind: kind, Target: target, Reason: "test", By: operator})
		if err != nil {
			t.Fatal(err)
		}
		return done.Revocation.ID
	}
	first, second := by(events.KindSubject, string(s.alice)), by(events.KindSubject, string(s.alice))
	third := by(events.KindAll, "")
	for _, id := range []events.RevocationID{second, third, first} {
		if err := s.lift(t, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, over := s.denied(t); !slices.Equal(over, []string{"phone", "laptop", "kiosk"}) {
		t.Errorf("over are %v", over)
	}
}

// One that was only announced is recorded though a later one denies the same: that may
// be lifted.
func TestALiftUncoversNothing(t *testing.T) {
	s := newStreet(t)
	barrier, err := s.Journal.Append(t.Context(), events.Append{
		Subject: "revocast.test.journal.barrier", Unguarded: true,
		Envelope: events.Envelope{ID: events.EventID(freshID()), At: time.Now(), Event: events.BarrierPassed{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := events.Revocation{
		ID: events.RevocationID(freshID()), Kind: events.KindSubject, Issuer: issuer, Target: string(s.alice), Reason: "test", By: operator,
		Cut: barrier, CutTime: time.Now(), Until: time.Now().Add(time.Minute),
	}
	s.announce(t, n)
	later, err := s.Revoke(t.Context(), issue.Revocation{Kind: events.KindSubject, Target: string(s.alice), Reason: "test", By: operator})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Record(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := s.lift(t, later.Revocation.ID); err != nil {
		t.Fatal(err)
	}
	if _, over := s.denied(t); !slices.Equal(over, []string{"phone", "laptop", "kiosk"}) {
		t.Errorf("over are %v", over)
	}
}

func TestWhatCannotBeLifted(t *testing.T) {
	s := newStreet(t)
	for _, id := range []events.RevocationID{events.RevocationID(freshID()), "9f0c2f0e-55ea-4a7e-9d0c-0d7a3a1c0b11"} {
		if err := s.lift(t, id); !errors.Is(err, issue.ErrNoRevocation) {
			t.Errorf("what nobody revoked: %v", err)
		}
	}
	done, err := s.Revoke(t.Context(), issue.Revocation{Kind: events.KindToken, Target: "j", Reason: "test", By: operator})
	if err != nil {
		t.Fatal(err)
	}
	s.ahead = time.Hour // the feed still holds it, the broker's clock being what it is
	if err := s.lift(t, done.Revocation.ID); !errors.Is(err, issue.ErrNoRevocation) {
		t.Errorf("what has expired: %v", err)
	}
}

// An issuer that dies while it lifts leaves things denied, and trying again completes
// it. While the journal does not say so, nothing is allowed.
func TestALiftHalfDone(t *testing.T) {
	s := newStreet(t)
	done, err := s.Revoke(t.Context(), issue.Revocation{Kind: events.KindClient, Target: "kiosk", Reason: "test", By: operator})
	if err != nil {
		t.Fatal(err)
	}
	dead := errors.New("dead")
	s.refuses = func(a events.Append) error {
		if _, ok := a.Envelope.Event.(events.CutsRecorded); ok {
			return dead
		}
		return nil
	}
	if err := s.lift(t, done.Revocation.ID); !errors.Is(err, dead) {
		t.Fatal(err)
	}
	if n := s.lifts(t); n != 0 {
		t.Errorf("%d lifts are announced that are not recorded", n)
	}
	if _, over := s.denied(t); !slices.Equal(over, []string{"kiosk"}) {
		t.Errorf("over are %v", over)
	}
	s.refuses = nil
	s.publishes = func() error { return dead }
	if err := s.lift(t, done.Revocation.ID); !errors.Is(err, dead) {
		t.Fatal(err)
	}
	s.publishes = nil
	if err := s.Record(t.Context(), done.Revocation); err != nil {
		t.Fatal(err)
	}
	if n := s.lifts(t); n != 0 {
		t.Errorf("%d lifts are announced", n)
	}
	if err := s.lift(t, done.Revocation.ID); err != nil {
		t.Fatal(err)
	}
	if n := s.lifts(t); n != 1 {
		t.Errorf("%d lifts are announced, want 1", n)
	}
	if _, over := s.denied(t); over != nil {
		t.Errorf("over are %v", over)
	}
}

func (s *street) lifts(t *testing.T) (n int) {
	t.Helper()
	for r, err := range s.Entries(t.Context(), 0, time.Time{}, "revocast.test.feed.lift.*") {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := r.Envelope.Event.(events.Lifted); ok {
			n++
		}
	}
	return n
}

// announce publishes past every issuer, as an operator does.
func (s *street) announce(t *testing.T, r events.Revocation) {
	t.Helper()
	r.Issuer, r.Reason, r.By = issuer, "stolen", events.Initiator{Role: "operator", Name: "nats"}
	e := events.Envelope{ID: events.EventID(freshID()), At: time.Now(), Event: events.Revoked{Revocation: r}}
	if _, err := s.Feed.Publish(t.Context(), place(r), e, time.Hour); err != nil {
		t.Fatal(err)
	}
}

func place(r events.Revocation) string {
	return fmt.Sprintf("revocast.test.feed.%s.0", r.Kind)
}

// An operator's entry has no cut and denies every login. It is given one, under an id
// of its own, and then lifted; lifting either lifts both.
func TestAnEntryWithoutACutIsRefined(t *testing.T) {
	for _, lift := range []string{"the operator's", "the refined one", "before anyone has refined it"} {
		t.Run(lift, func(t *testing.T) {
			t.Parallel()
			s := newStreet(t)
			whole := events.Revocation{
				ID: events.RevocationID(freshID()), Kind: events.KindSubject, Issuer: issuer, Target: string(s.alice), Reason: "stolen",
				By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(time.Hour),
			}
			s.announce(t, whole)
			if lift == "before anyone has refined it" {
				if err := s.lift(t, whole.ID); err != nil {
					t.Fatal(err)
				}
				if err := s.Record(t.Context(), whole); err != nil {
					t.Fatal(err)
				}
				if denied, over := s.denied(t); denied != nil || over != nil {
					t.Errorf("denies %v and ends %v", denied, over)
				}
				return
			}
			for range 2 {
				if err := s.Record(t.Context(), whole); err != nil {
					t.Fatal(err)
				}
			}
			page, err := s.Revocations(t.Context(), issue.Query{Limit: 10})
			if err != nil || len(page.Revocations) != 2 {
				t.Fatalf("%+v, %v", page, err)
			}
			refined := page.Revocations[1]
			if !page.Revocations[0].Lifted || refined.Lifted || refined.Cut.IsZero() || refined.Until.Before(whole.Until.Truncate(time.Second)) {
				t.Errorf("%+v", page.Revocations)
			}
			if _, over := s.denied(t); !slices.Equal(over, []string{"phone", "laptop", "kiosk"}) {
				t.Errorf("over are %v", over)
			}
			if _, err := s.Authenticate(t.Context(), login(t, s.Service).AccessToken, true); err != nil {
				t.Errorf("who logs in later: %v", err)
			}
			id := whole.ID
			if lift == "the refined one" {
				id = refined.ID
			}
			if err := s.lift(t, id); err != nil {
				t.Fatal(err)
			}
			if err := s.Record(t.Context(), whole); err != nil {
				t.Fatal(err)
			}
			if denied, over := s.denied(t); denied != nil || over != nil {
				t.Errorf("lifted, it denies %v and ends %v", denied, over)
			}
			page, err = s.Revocations(t.Context(), issue.Query{Limit: 10})
			if err != nil || len(page.Revocations) != 2 || !page.Revocations[0].Lifted || !page.Revocations[1].Lifted {
				t.Errorf("%+v, %v", page, err)
			}
		})
	}
}

// A crash while an entry is refined leaves it denying, and is completed.
func TestRefiningHalfDone(t *testing.T) {
	s := newStreet(t)
	whole := events.Revocation{
		ID: events.RevocationID(freshID()), Kind: events.KindAll, Issuer: issuer, Reason: "stolen",
		By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(time.Hour),
	}
	s.announce(t, whole)
	dead := errors.New("dead")
	published := 0
	s.publishes = func() error {
		if published++; published == 2 { // the lift
			return dead
		}
		return nil
	}
	if err := s.Record(t.Context(), whole); !errors.Is(err, dead) {
		t.Fatal(err)
	}
	if n := s.lifts(t); n != 0 {
		t.Errorf("%d lifts", n)
	}
	if err := s.Record(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	if n := s.lifts(t); n != 1 || published != 3 {
		t.Errorf("%d lifts, %d announcements", n, published)
	}
}

// A session that an operator denied past every issuer lives on if that is lifted
// before it is recorded.
func TestLiftingASessionsEntryInTime(t *testing.T) {
	s := newStreet(t)
	n := events.Revocation{
		ID: events.RevocationID(freshID()), Kind: events.KindSession, Issuer: issuer, Target: string(s.grants["bob"].Session), Reason: "stolen",
		By: events.Initiator{Role: "operator", Name: "nats"}, Until: time.Now().Add(time.Hour),
	}
	s.announce(t, n)
	if err := s.lift(t, n.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Record(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if denied, over := s.denied(t); denied != nil || over != nil {
		t.Errorf("denies %v and ends %v", denied, over)
	}
}
