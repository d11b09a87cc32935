package session_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

const (
	sid    = events.SessionID("01935f6a-0c00-7000-8000-000000000002")
	rid    = events.RevocationID("01935f6a-0c00-7000-8000-000000000003")
	client = events.ClientID("demo-mobile")
	secret = "a device secret of 128 bits or more"
)

var noon = time.Unix(1795310000, 0).UTC()

func policy() session.Policy {
	return session.Policy{
		AccessTTL: 5 * time.Minute, Grace: 10 * time.Second, IdleLimit: 720 * time.Hour,
		OnReplay: session.ReplaySuccessor,
	}
}

func begin() events.Session {
	return events.Session{
		ID: sid, Issuer: "https://id.example", Subject: "u-7", Client: client,
		Salt: bytes.Repeat([]byte{7}, 32), KeyID: "r1", AuthTime: noon, CredentialVersion: 1,
	}
}

// fataler is what a test and a rapid check have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

// journal is one session's subject: what Decide's events become when appended.
type journal struct {
	state session.State
	seq   uint64
}

func (j *journal) append(t fataler, e events.Event, at time.Time) {
	t.Helper()
	if e == nil {
		t.Fatal("nothing to append")
	}
	j.seq++
	now := j.state.Now
	j.state = session.Apply(j.state, events.Record{
		Position: events.Position{Sequence: j.seq}, Time: at, Envelope: events.Envelope{Event: e},
	})
	j.state.Now = now
}

// behindBarrier is the state as a barrier at that broker time shows it.
func (j *journal) behindBarrier(at time.Time) session.State {
	s := j.state
	s.Now = at
	return s
}

// behindReplay is the same behind the record of a superseded token's use.
func (j *journal) behindReplay(t fataler, at time.Time, generation uint64) session.State {
	t.Helper()
	s := session.Apply(j.state, events.Record{
		Time: at, Envelope: events.Envelope{Event: events.SessionReplayed{Replay: j.state.NextReplay(sid, generation)}},
	})
	if s.Replay.Generation < generation || s.Replay.Count == 0 {
		t.Fatal("the use of a superseded token is not on record")
	}
	return s
}

func started(t fataler, n events.Session, p session.Policy) *journal {
	t.Helper()
	e, err := session.Decide(session.State{}, session.Start{Session: n, Policy: p}, noon)
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{seq: 100}
	j.append(t, e, noon)
	return j
}

func use(generation uint64) session.Refresh {
	return session.Refresh{
		Generation: generation, Proof: session.Proof{Client: client}, KeyID: "r1", Policy: policy(),
	}
}

func (j *journal) rotate(t fataler, at time.Time) {
	t.Helper()
	e, err := session.Decide(j.state, use(j.state.Session.Generation), at)
	if err != nil {
		t.Fatal(err)
	}
	j.append(t, e, at)
}

func TestStartAndRotate(t *testing.T) {
	j := started(t, begin(), policy())
	if got := j.state.Session.Began; got != (events.Position{Sequence: 101}) {
		t.Errorf("session began at %v", got)
	}
	at := noon.Add(4 * time.Minute)
	j.rotate(t, at)
	n := j.state.Session
	if n.Generation != 1 || n.Began.Sequence != 101 || !n.MintedAt.Equal(at) || !n.AccessExpires.Equal(at.Add(5*time.Minute)) {
		t.Errorf("after one rotation: %+v", n)
	}
	if !j.state.Unchanged(events.Position{Sequence: 102}) || j.state.Unchanged(events.Position{Sequence: 101}) {
		t.Error("Unchanged does not follow the last record")
	}
}

func TestProofIsNeeded(t *testing.T) {
	n := begin()
	sum := sha256.Sum256([]byte(secret))
	n.DeviceSecretHash = sum[:]
	j := started(t, n, policy())
	j.rotate2(t, secret, noon.Add(time.Minute))
	for _, given := range []string{"", "wrong", secret + "x"} {
		for _, g := range []uint64{0, 1} { // superseded and current, inside the window
			r := use(g)
			r.Proof.DeviceSecret = given
			if e, err := session.Decide(j.behindBarrier(noon.Add(time.Minute)), r, noon); e != nil || !errors.Is(err, session.ErrProof) {
				t.Errorf("secret %q, generation %d: %v, %v", given, g, e, err)
			}
		}
	}
	r := use(1)
	r.Proof.Client = "another"
	if _, err := session.Decide(j.state, r, noon); !errors.Is(err, session.ErrClient) {
		t.Errorf("another client: %v", err)
	}
}

func (j *journal) rotate2(t fataler, secret string, at time.Time) {
	t.Helper()
	r := use(j.state.Session.Generation)
	r.Proof.DeviceSecret = secret
	e, err := session.Decide(j.state, r, at)
	if err != nil {
		t.Fatal(err)
	}
	j.append(t, e, at)
}

func TestWhatEndsASession(t *testing.T) {
	began := events.Position{Sequence: 101}
	cut := func(f func(*events.Revocation)) session.State {
		r := events.Revocation{
			ID: rid, Kind: events.KindSubject, Issuer: "https://id.example", Target: "u-7", Cut: began,
		}
		f(&r)
		s := started(t, begin(), policy()).state
		return session.Apply(s, events.Record{Envelope: events.Envelope{Event: events.CutsRecorded{Cuts: []events.Revocation{r}}}})
	}
	for _, c := range []struct {
		name string
		f    func(*events.Revocation)
		over bool
	}{
		{"cut where it began", func(*events.Revocation) {}, true},
		{"cut after it began", func(r *events.Revocation) { r.Cut.Sequence++ }, true},
		{"cut before it began", func(r *events.Revocation) { r.Cut.Sequence-- }, false},
		{"cut without a place", func(r *events.Revocation) { r.Cut = events.Position{} }, true},
		{"cut in another shard", func(r *events.Revocation) { r.Cut = events.Position{Shard: 1, Sequence: 1} }, true},
		{"excepted", func(r *events.Revocation) { r.Except = sid }, false},
		{"another excepted", func(r *events.Revocation) { r.Except = "other" }, true},
		{"access tokens only", func(r *events.Revocation) { r.Scope = events.ScopeAccessTokens }, false},
		{"another subject", func(r *events.Revocation) { r.Target = "u-8" }, false},
		{"another issuer", func(r *events.Revocation) { r.Issuer = "https://other.example" }, false},
		{"its client", func(r *events.Revocation) { r.Kind, r.Target = events.KindClient, string(client) }, true},
		{"another client", func(r *events.Revocation) { r.Kind, r.Target = events.KindClient, "x" }, false},
		{"everyone", func(r *events.Revocation) { r.Kind, r.Target = events.KindAll, "" }, true},
		{"a key", func(r *events.Revocation) { r.Kind, r.Target = events.KindKey, "k1" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := cut(c.f)
			if s.Over() != c.over {
				t.Fatalf("over is %v", s.Over())
			}
			e, err := session.Decide(s, use(0), noon)
			if c.over && !errors.Is(err, session.ErrBarrier) || !c.over && e == nil {
				t.Errorf("refresh gave %v, %v: a cut can be lifted", e, err)
			}
			s.Now = noon
			if e, err := session.Decide(s, use(0), noon); c.over && !errors.Is(err, session.ErrOver) || !c.over && e == nil {
				t.Errorf("behind a barrier refresh gave %v, %v", e, err)
			}
		})
	}
	for name, c := range map[string]struct {
		f       func(*session.State)
		forGood bool
	}{
		"its end":           {func(s *session.State) { s.Session.Ended = &events.Ending{} }, true},
		"a new credential":  {func(s *session.State) { s.User.Version = 2 }, true},
		"a disabled user":   {func(s *session.State) { s.User.Disabled = true }, false},
		"a disabled client": {func(s *session.State) { s.Client.Disabled = true }, false},
	} {
		s := started(t, begin(), policy()).state
		c.f(&s)
		want := session.ErrBarrier
		if c.forGood {
			want = session.ErrOver
		}
		if _, err := session.Decide(s, use(0), noon); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		s.Now = noon
		if _, err := session.Decide(s, use(0), noon); !errors.Is(err, session.ErrOver) {
			t.Errorf("%s, behind a barrier: %v", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	p := policy()
	p.IdleLimit, p.AbsoluteLimit = time.Hour, 24*time.Hour
	j := started(t, begin(), p)
	late := noon.Add(time.Hour + time.Second)
	if _, err := session.Decide(j.state, use(0), late); !errors.Is(err, session.ErrBarrier) {
		t.Errorf("idle by the issuer's clock alone: %v, want ErrBarrier", err)
	}
	if _, err := session.Decide(j.behindBarrier(late), use(0), late); !errors.Is(err, session.ErrOver) {
		t.Errorf("idle by the broker's clock: %v, want ErrOver", err)
	}
	if _, err := session.Decide(j.behindBarrier(noon.Add(time.Minute)), use(0), late); err != nil {
		t.Errorf("a fast clock ended a session that is not idle: %v", err)
	}
	if _, err := session.Decide(session.State{Now: noon}, use(0), noon); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("no session: %v", err)
	}
	if _, err := session.Decide(session.State{}, use(0), noon); !errors.Is(err, session.ErrBarrier) {
		t.Errorf("no session on a read that may be stale: %v", err)
	}
	unreadable := session.Apply(j.state, events.Record{Envelope: events.Envelope{Event: events.Unknown{Number: 99}}})
	if _, err := session.Decide(unreadable, use(0), noon); !errors.Is(err, session.ErrUnreadable) {
		t.Errorf("an event from the future: %v", err)
	}
}

// A burst is slowed down rather than taken for theft, and does not get stuck.
func TestBursts(t *testing.T) {
	j := started(t, begin(), policy())
	at := noon
	for range 9 {
		at = at.Add(100 * time.Millisecond)
		j.rotate(t, at)
	}
	burst := use(j.state.Session.Generation)
	if _, err := session.Decide(j.behindBarrier(at.Add(time.Second)), burst, at); !errors.Is(err, session.ErrTooFast) {
		t.Errorf("ninth rotation in a second: %v, want ErrTooFast", err)
	}
	later := at.Add(time.Minute)
	if _, err := session.Decide(j.state, burst, later); !errors.Is(err, session.ErrBarrier) {
		t.Errorf("a minute later without the broker's time: %v, want ErrBarrier", err)
	}
	if _, err := session.Decide(j.behindBarrier(later), burst, later); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}
