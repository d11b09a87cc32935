package guard_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
)

func use(token, address, secret string) issue.Refresh {
	return issue.Refresh{
		Token: token, Policy: policy(), Address: netip.MustParseAddr(address),
		Proof: session.Proof{Client: client, DeviceSecret: secret},
	}
}

// forged is a token of the session, but not one that was ever written.
func forged(token string) string {
	b := []byte(token)
	last := len(b) - 2 // within the MAC, and not in its spare bits
	if b[last] == 'A' {
		b[last] = 'B'
	} else {
		b[last] = 'A'
	}
	return string(b)
}

// R31: tokens that somebody made up end no session and slow none down, not even those
// that are refreshed from the same address.
func TestForgedTokensHarmNobody(t *testing.T) {
	h := open(t, limits(t), cheap())
	token := h.in(t, from("192.0.2.7", alice)).RefreshToken
	refused, slowed := 0, 0
	for n := range 1000 {
		made := []string{forged(token), "x", "", "a.b.c"}[n%4]
		_, err := h.Refresh(t.Context(), use(made, "192.0.2.7", ""))
		switch {
		case errors.Is(err, issue.ErrForged) && errors.Is(err, issue.ErrGrant):
			refused++
		case wait(t, err) > 0:
			slowed++
		default:
			t.Fatalf("%q: %v", made, err)
		}
		if n%200 == 199 {
			g, err := h.Refresh(t.Context(), use(token, "192.0.2.7", ""))
			if err != nil {
				t.Fatalf("the owner, next to %d forged ones: %v", n, err)
			}
			token = g.RefreshToken
		}
	}
	if refused != 300 || slowed != 700 || h.throttled(t, "refresh_address") != 700 {
		t.Errorf("%d refused, %d slowed", refused, slowed)
	}
	if _, err := h.Refresh(t.Context(), use("x", "198.51.100.1", "")); !errors.Is(err, issue.ErrForged) {
		t.Errorf("from another address: %v", err)
	}
}

// R31: a thief without the proof ends nothing, and the owner refreshes meanwhile, from
// the same address too.
func TestThievesWithoutProofHarmNobody(t *testing.T) {
	h := open(t, limits(t), cheap())
	phone, proof := from("192.0.2.7", alice), secret()
	phone.DeviceSecret = proof
	token := h.in(t, phone).RefreshToken
	refused, slowed := 0, 0
	for n := range 600 {
		guess := ""
		if n%2 == 0 {
			guess = secret()
		}
		_, err := h.Refresh(t.Context(), use(token, "192.0.2.7", guess))
		switch {
		case errors.Is(err, session.ErrProof):
			refused++
		case wait(t, err) > 0:
			slowed++
		default:
			t.Fatal(err)
		}
		if n%100 == 99 {
			g, err := h.Refresh(t.Context(), use(token, "192.0.2.7", proof))
			if err != nil {
				t.Fatalf("the owner, next to %d attempts: %v", n, err)
			}
			token = g.RefreshToken
		}
	}
	if refused != 60 || slowed != 540 || h.throttled(t, "refresh_session") != 540 {
		t.Errorf("%d refused, %d slowed", refused, slowed)
	}
	// Elsewhere somebody is told plainly what is missing.
	if _, err := h.Refresh(t.Context(), use(token, "198.51.100.1", "")); !errors.Is(err, session.ErrProof) {
		t.Errorf("got %v", err)
	}
}

// R31: whoever keeps asking for a step-up from another device gets that for an answer,
// for a while; the session goes on where it is.
func TestStepUpStormsHarmNobody(t *testing.T) {
	h := open(t, limits(t), cheap())
	phone := from("192.0.2.7", alice)
	phone.DeviceID = "phone-1"
	token := h.in(t, phone).RefreshToken
	asked, slowed := 0, 0
	for n := range 600 {
		r := use(token, "198.51.100.1", "")
		r.DeviceID = "another"
		_, err := h.Refresh(t.Context(), r)
		switch {
		case errors.Is(err, session.ErrStepUp):
			asked++
		case wait(t, err) > 0:
			slowed++
		default:
			t.Fatal(err)
		}
		if n%100 == 99 {
			r := use(token, "192.0.2.7", "")
			r.DeviceID = phone.DeviceID
			g, err := h.Refresh(t.Context(), r)
			if err != nil {
				t.Fatalf("the owner, next to %d attempts: %v", n, err)
			}
			token = g.RefreshToken
		}
	}
	if asked != 60 || slowed != 540 {
		t.Errorf("asked for a credential %d times, slowed %d times", asked, slowed)
	}
}

// The token of a session that is over costs the journal a barrier each time it is
// shown, but not for long, whatever is varied about the request.
func TestEndedSessionsCostLittle(t *testing.T) {
	h := open(t, limits(t), cheap())
	g := h.in(t, from("192.0.2.7", alice))
	other := h.in(t, from("192.0.2.7", alice))
	js, err := jetstream.New(h.server.Superuser(t, topology.Issuer.Account()))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), eventstest.Realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	// As if the broker had forgotten it, long after its end.
	caller, err := h.service.Authenticate(t.Context(), g.AccessToken, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.service.EndOwn(t.Context(), caller, g.Session); err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject(eventstest.Realm.SessionByID(g.Session))); err != nil {
		t.Fatal(err)
	}
	last := func() uint64 {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State.LastSeq
	}
	before, refused := last(), 0
	for range 500 {
		_, err := h.Refresh(t.Context(), use(g.RefreshToken, anywhere(), secret()))
		switch {
		case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrOver):
			refused++
		case wait(t, err) == 0:
			t.Fatal(err)
		}
	}
	if grown := last() - before; refused != 60 || grown > 60 {
		t.Errorf("%d refused; the journal grew by %d", refused, grown)
	}
	if _, err := h.Refresh(t.Context(), use(other.RefreshToken, "192.0.2.7", "")); err != nil {
		t.Errorf("another session: %v", err)
	}
}

// Reuse ends the session and is told as such however much has been refused before.
func TestReuseIsNeverSwallowed(t *testing.T) {
	h := open(t, strictest(t), cheap())
	g := h.in(t, from("192.0.2.7", alice))
	if _, err := h.Refresh(t.Context(), use(g.RefreshToken, "192.0.2.7", "")); err != nil {
		t.Fatal(err)
	}
	impatient := use(g.RefreshToken, "192.0.2.7", "")
	impatient.Policy.Grace = 0
	stranger := impatient
	stranger.Proof.Client = "another"
	for range 10 {
		if _, err := h.Refresh(t.Context(), stranger); err == nil {
			t.Fatal("another client refreshed")
		}
	}
	if _, err := h.Refresh(t.Context(), impatient); !errors.Is(err, session.ErrReuse) {
		t.Errorf("got %v", err)
	}
	if len(h.noted.about(events.ActionLoginThrottled)) != 0 {
		t.Error("a refresh was noted as a login")
	}
}
