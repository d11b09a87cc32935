package token_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// Every attack is refused for what is wrong with it, and the good tokens beside show
// that nothing else was. The fronts are held to the same table in package fronttest.
func TestAttacks(t *testing.T) {
	ours, theirs := tokentest.NewIssuer(t, ""), tokentest.NewIssuer(t, "their-")
	same := tokentest.NewIssuer(t, "") // publishes other keys under our kids
	v := newVerifier(t, config(),
		token.Issuer{Trust: ours.Trust(), Keys: ours.Keys(t)},
		token.Issuer{Trust: theirs.Trust(), Keys: theirs.Keys(t)},
		token.Issuer{Trust: same.Trust(), Keys: same.Keys(t)},
	)
	refused := func(t *testing.T, raw string, want error) {
		t.Helper()
		for range 2 { // the second time a cache could have been misled
			got, err := v.Verify(t.Context(), raw, now)
			if got != nil || !errors.Is(err, want) {
				t.Fatalf("got %+v, %v; want %v", got, err, want)
			}
			if d := v.Diagnose(t.Context(), raw, now); d.Taken || faults(d) == "" {
				t.Fatalf("diagnosed as %+v", d)
			}
			if err != nil && len(raw) > 20 && strings.Contains(err.Error(), raw[:20]) {
				t.Error("the error repeats the token")
			}
		}
	}
	attacks := tokentest.Attacks(t, now, ours, theirs, same)
	if len(attacks) < 250 {
		t.Errorf("%d attacks", len(attacks))
	}
	for _, attack := range attacks {
		t.Run(attack.Name, func(t *testing.T) { refused(t, attack.Token, attack.Fault) })
	}
	// To the second, which only a clock that stands can show.
	for name, edge := range map[string]struct {
		changes object
		want    error
	}{
		"just expired":         {object{"exp": now.Add(-5 * time.Second).Unix()}, token.ErrExpired},
		"nbf to come":          {object{"nbf": now.Add(6 * time.Second).Unix()}, token.ErrPremature},
		"nbf half a second on": {object{"nbf": float64(now.Add(5*time.Second).Unix()) + 0.5}, token.ErrPremature},
		"iat to come":          {object{"iat": now.Add(6 * time.Second).Unix()}, token.ErrPremature},
	} {
		t.Run(name, func(t *testing.T) { refused(t, ours.Good(t, now, edge.changes), edge.want) })
	}
	for name, s := range map[string]tokentest.Signer{"ES256": ours.ES256, "RS256": ours.RS256, "EdDSA": ours.EdDSA} {
		good := s.Sign(t, s.Header(), ours.Claims(now))
		if _, err := v.Verify(t.Context(), good, now); err != nil {
			t.Errorf("good %s token: %v", name, err)
		}
		if d := v.Diagnose(t.Context(), good, now); !d.Taken || faults(d) != "" {
			t.Errorf("good %s token, diagnosed: %+v", name, d)
		}
	}
	if _, err := v.Verify(t.Context(), theirs.Good(t, now, nil), now); err != nil {
		t.Errorf("their good token: %v", err)
	}
}

// A signature of RSA is as long as the modulus, also where its first byte is zero, and
// is refused without it (RFC 8017 section 8.2.2).
func TestLeadingZero(t *testing.T) {
	ours := tokentest.NewIssuer(t, "")
	v := newVerifier(t, config(), token.Issuer{Trust: ours.Trust(), Keys: ours.Keys(t)})
	s := ours.RS256
	for i := range 10_000 { // one of 256 has one
		raw := s.Sign(t, s.Header(), tokentest.With(ours.Claims(now), object{"jti": fmt.Sprint(i)}))
		signed, signature := raw[:strings.LastIndexByte(raw, '.')+1], raw[strings.LastIndexByte(raw, '.')+1:]
		if !strings.HasPrefix(signature, "AA") && !strings.HasPrefix(signature, "AB") && !strings.HasPrefix(signature, "AC") && !strings.HasPrefix(signature, "AD") {
			continue
		}
		if _, err := v.Verify(t.Context(), raw, now); err != nil {
			t.Errorf("with it: %v", err)
		}
		short := signed + tokentest.Encode(decode(t, signature)[1:])
		if _, err := v.Verify(t.Context(), short, now); !errors.Is(err, token.ErrUntrusted) {
			t.Errorf("without it: %v", err)
		}
		return
	}
	t.Fatal("no signature begins with zero")
}

func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
