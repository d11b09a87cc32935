package audit_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/audit"
)

// token is one of alice's, minted a moment ago at these positions.
func token(sessionAt, mintedAt uint64) events.Facts {
	return events.Facts{
		Token: "jti-1", Session: "sid-1", Subject: "alice", Client: "mobile", Key: "kid-1",
		SessionAt: events.Position{Sequence: sessionAt}, MintedAt: events.Position{Sequence: mintedAt},
		IssuedAt: time.Now().Unix(), AuthTime: time.Now().Unix(),
	}
}

func (r *rig) at(t *testing.T, at time.Time, f events.Facts) audit.Verdict {
	t.Helper()
	v, err := r.At(t.Context(), audit.Question{Token: f, At: at, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func passed(t *testing.T, what string, v audit.Verdict) {
	t.Helper()
	if !v.Decided || !v.Passed || len(v.Reasons) > 0 || v.Lifetime != "" {
		t.Errorf("%s: it did not pass: %+v", what, v)
	}
}

func denied(t *testing.T, what string, v audit.Verdict, by ...events.Revocation) {
	t.Helper()
	if !v.Decided || v.Passed || len(v.Reasons) != len(by) {
		t.Fatalf("%s: want it denied by %d: %+v", what, len(by), v)
	}
	for i, n := range by {
		d := v.Reasons[i]
		if d.RevocationID != string(n.ID) || d.Kind != n.Kind.String() || d.ID != n.Target || d.Reason != string(n.Reason) ||
			d.By.Role != n.By.Role || d.By.Name != n.By.Name || d.Since.After(v.At) || d.Since.IsZero() || d.Issuer != string(n.Issuer) {
			t.Errorf("%s: reason %d is %+v, want %+v", what, i, d, n)
		}
	}
}

func TestBeforeAndAfter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := token(100, 110)
	before := r.settle(t)
	f.IssuedAt = before.Unix()
	first := r.revoke(t, events.Revocation{Kind: events.KindSubject, Target: "alice", Cut: events.Position{Sequence: 105}, Reason: "stolen_phone"})
	after := r.settle(t)
	second := r.revoke(t, events.Revocation{Kind: events.KindToken, Target: "jti-1", By: events.Initiator{Role: "client", Name: "mobile"}})
	both := r.settle(t)
	r.lift(t, r.root, first)
	lifted := r.settle(t)
	r.lift(t, r.root, second)
	free := r.settle(t)

	passed(t, "before", r.at(t, before, f))
	denied(t, "after", r.at(t, after, f), first)
	denied(t, "after the second", r.at(t, both, f), first, second)
	denied(t, "after one was lifted", r.at(t, lifted, f), second)
	passed(t, "after both were lifted", r.at(t, free, f))
	// What is asked later changes nothing about what was.
	denied(t, "after", r.at(t, after, f), first)
	if v := r.at(t, both, f); v.Reasons[0].Cut != "0:105" || v.Reasons[0].Scope != "sessions" || v.Reasons[0].ExpiresAt == nil || v.Reasons[1].Cut != "" {
		t.Errorf("reasons are %+v", v.Reasons)
	}
}

func TestWhatACutSpares(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old, fresh, young := token(100, 110), token(120, 130), token(100, 130)
	again := func() *rig {
		r := newRig(t)
		for _, f := range []*events.Facts{&old, &fresh, &young} {
			f.IssuedAt = time.Now().Unix()
		}
		return r
	}
	cut := r.revoke(t, events.Revocation{Kind: events.KindClient, Target: "mobile", Cut: events.Position{Sequence: 115}})
	at := r.settle(t)
	denied(t, "a session before the cut", r.at(t, at, old), cut)
	denied(t, "refreshed after it", r.at(t, at, young), cut)
	passed(t, "a session after it", r.at(t, at, fresh))

	r = again()
	cut = r.revoke(t, events.Revocation{Kind: events.KindSubject, Target: "alice", Cut: events.Position{Sequence: 115}, Scope: events.ScopeAccessTokens})
	at = r.settle(t)
	denied(t, "an access token before the cut", r.at(t, at, old), cut)
	passed(t, "refreshed after it", r.at(t, at, young))
	if v := r.at(t, at, old); v.Reasons[0].Scope != "access-tokens" {
		t.Errorf("got %+v", v.Reasons)
	}

	r = again()
	cut = r.revoke(t, events.Revocation{Kind: events.KindSubject, Target: "alice", Cut: events.Position{Sequence: 200}, Except: "sid-1"})
	at = r.settle(t)
	passed(t, "the session excepted", r.at(t, at, old))
	other := old
	other.Session = "sid-2"
	denied(t, "another", r.at(t, at, other), cut)
	if v := r.at(t, at, other); v.Reasons[0].ExceptSession != "sid-1" {
		t.Errorf("got %+v", v.Reasons)
	}
}

// All six kinds are looked at, each where it stands, and nothing else.
func TestEveryKindIsReplayed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := token(100, 110)
	foreign := events.Facts{Issuer: "https://elsewhere.example", Subject: "alice", SessionAt: events.Position{Sequence: 900}, AuthTime: 1000, IssuedAt: time.Now().Unix()}
	var all []events.Revocation
	for kind, target := range map[events.Kind]string{
		events.KindToken: "jti-1", events.KindSession: "sid-1", events.KindSubject: "alice", events.KindClient: "mobile",
		events.KindKey: "kid-1", events.KindAll: "",
	} {
		if kind != events.KindAll {
			r.revoke(t, events.Revocation{Kind: kind, Target: target + "-another"})
		}
		all = append(all, r.revoke(t, events.Revocation{Kind: kind, Target: target}))
	}
	cut := r.revoke(t, events.Revocation{
		Kind: events.KindAll, Issuer: foreign.Issuer, Cut: events.Position{Sequence: 500}, CutTime: time.Unix(1000, 0),
	})
	at := r.settle(t)
	denied(t, "ours", r.at(t, at, f), all...)
	denied(t, "another issuer's, by its time", r.at(t, at, foreign), cut)
	foreign.AuthTime++
	passed(t, "another issuer's, of a later login", r.at(t, at, foreign))
}

// What lifts must be signed by the root; what is not changes nothing here either.
func TestForgedLiftChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.revoke(t, events.Revocation{Kind: events.KindSubject, Target: "alice"})
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	r.lift(t, other, n)
	moved := n
	moved.Target = "bob"
	r.lift(t, r.root, moved)
	denied(t, "after forged lifts", r.at(t, r.settle(t), token(1, 1)), n)
}

func TestLifetimes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := token(100, 110)
	carol := f
	carol.Subject = "carol"
	until := time.Now().Add(2 * time.Second)
	brief := r.revoke(t, events.Revocation{Kind: events.KindSubject, Target: "carol", Until: until})
	again := r.revoke(t, events.Revocation{Kind: events.KindSubject, Target: "alice", Until: until})
	longer := again
	longer.Until = until.Add(time.Minute)
	r.announce(t, longer)
	at, over := r.settle(t), until.Add(2*time.Second)
	denied(t, "while it lasts", r.at(t, at, carol), brief)
	if v := r.at(t, time.Now().Add(time.Minute), carol); v.Decided || v.Passed {
		t.Errorf("in the future: %+v", v)
	}
	eventstest.Eventually(t, func(context.Context) error {
		if time.Now().Before(over) {
			return errors.New("the entry is not over")
		}
		return nil
	})
	passed(t, "when the entry is over", r.at(t, over, carol))
	v := r.at(t, over, f)
	denied(t, "when it was announced again", v, again)
	if !v.Reasons[0].ExpiresAt.After(over) {
		t.Errorf("got %+v", v.Reasons[0])
	}

	other := token(100, 110)
	other.Subject, other.IssuedAt = "bob", at.Unix()
	for name, q := range map[string]audit.Question{
		"expired":         {Token: other, At: at, Expires: at},
		"not issued yet":  {Token: other, At: time.Unix(other.IssuedAt, 0).Add(-time.Second), Expires: at.Add(time.Hour)},
		"without an exp":  {Token: other, At: at},
		"expires shortly": {Token: other, At: at, Expires: at.Add(time.Nanosecond)},
	} {
		v, err := r.At(t.Context(), q)
		if err != nil || !v.Decided || v.Passed != (v.Lifetime == "") || v.Passed == (name == "expired" || name == "not issued yet") {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

// A revocation that FEED has forgotten is still known, and of the moments between the
// command and AUDIT's record nothing is claimed.
func TestWhatTheFeedForgot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := token(100, 110)
	n := events.Revocation{
		ID: events.RevocationID(newID()), Kind: events.KindSession, Issuer: issuer, Target: "sid-1", Reason: "theft",
		By: events.Initiator{Role: "policy"}, Until: time.Now().Add(2 * time.Hour),
	}
	e := envelope(events.Revoked{Revocation: n})
	e.At = e.At.Add(-time.Minute) // its command was that long under way
	if _, err := r.feed.Publish(t.Context(), realm.FeedEntry(n.Kind, n.Issuer, n.Target), e, time.Second); err != nil {
		t.Fatal(err)
	}
	at := r.settle(t)
	f.IssuedAt = at.Add(-time.Hour).Unix()
	meanwhile := at.Add(-30 * time.Second)
	if v := r.at(t, meanwhile, f); v.Undecided == "" || strings.Contains(v.Undecided, string(n.ID)) {
		t.Errorf("FEED knows the moment: %+v", v)
	}
	js, err := jetstream.New(r.server.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	eventstest.Eventually(t, func(ctx context.Context) error {
		feed, err := js.Stream(ctx, realm.FeedStream())
		if err != nil {
			return err
		}
		info, err := feed.Info(ctx, jetstream.WithSubjectFilter(realm.FeedEntry(n.Kind, n.Issuer, n.Target)))
		if err == nil && len(info.State.Subjects) > 0 {
			err = errors.New("FEED has it still")
		}
		return err
	})
	denied(t, "after", r.at(t, at, f), n)
	if v := r.at(t, meanwhile, f); v.Decided || v.Passed || !strings.Contains(v.Undecided, string(n.ID)) {
		t.Errorf("meanwhile: %+v", v)
	}
}

// Where the memory of AUDIT does not reach, nothing passes for having passed; what
// denied a token is known all the same if FEED has it.
func TestMemoryEnds(t *testing.T) {
	t.Parallel()
	made := time.Now()
	r := newRig(t, eventstest.Topology(topology.Options{AuditMaxAge: time.Second}))
	f := token(100, 110)
	n := r.revoke(t, events.Revocation{Kind: events.KindKey, Target: "kid-1"})
	at := r.settle(t)
	f.IssuedAt = at.Unix()
	eventstest.Eventually(t, func(ctx context.Context) error {
		reach, err := r.past.Reach(ctx)
		if err == nil && !reach.After(at.Add(time.Second)) {
			err = errors.New("AUDIT has not forgotten yet")
		}
		return err
	})
	denied(t, "by what FEED has still", r.at(t, at, f), n)
	f.Key = "kid-2"
	if v := r.at(t, at, f); v.Decided || v.Passed || !strings.Contains(v.Undecided, "does not reach back") || v.ReachesBackTo.Before(at) {
		t.Errorf("got %+v", v)
	}
	// The token is from before, the moment is not.
	if v := r.at(t, time.Now(), f); v.Decided || v.Passed {
		t.Errorf("got %+v", v)
	}
	if v, err := r.At(t.Context(), audit.Question{Token: f, At: made.Add(-time.Hour)}); err != nil || v.Passed {
		t.Errorf("before there was a realm: %+v, %v", v, err)
	}
}

// Without the broker there is no verdict, and no empty history.
func TestBrokerIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if v, err := r.At(ctx, audit.Question{Token: token(1, 1), At: time.Now()}); !errors.Is(err, events.ErrUnavailable) || v.Passed {
		t.Errorf("got %+v, %v", v, err)
	}
	if page, err := r.History(ctx, audit.Query{Limit: 1}); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("got %+v, %v", page, err)
	}
}
