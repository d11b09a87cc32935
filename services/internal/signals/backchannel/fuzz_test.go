package backchannel_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/signals/backchannel"
	"github.com/revocast/revocast/services/internal/signals/provider"
)

const from = "https://id.example"

// fuzzed is a handler that trusts one provider, and remembers what it revoked.
type fuzzed struct {
	backchannel.Handler

	private ed25519.PrivateKey
	public  ed25519.PublicKey
	asked   []issue.Revocation
	by      []issue.Message
}

func newFuzzed(f *testing.F) *fuzzed {
	f.Helper()
	h := &fuzzed{private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	h.public = ed25519.PublicKey(h.private[ed25519.SeedSize:])
	outcomes, err := backchannel.NewOutcomes(prometheus.NewRegistry())
	if err != nil {
		f.Fatal(err)
	}
	p, err := provider.Parse("issuer=" + from + ",audience=us,audience=also,alg=EdDSA")
	if err != nil {
		f.Fatal(err)
	}
	h.Handler = backchannel.Handler{
		Providers: map[events.Issuer]backchannel.Trusted{from: {Provider: p, Keys: h}},
		Revoker:   h, Log: zap.NewNop(), Outcomes: outcomes, Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
	}
	return h
}

// Find gives one key, whatever its name.
func (h *fuzzed) Find(context.Context, events.KeyID) (provider.Key, error) {
	return provider.Key{Algorithm: provider.EdDSA, Public: h.public}, nil
}

// RevokeOnce remembers.
func (h *fuzzed) RevokeOnce(_ context.Context, m issue.Message, r issue.Revocation) (issue.Revoked, error) {
	h.asked, h.by = append(h.asked, r), append(h.by, m)
	return issue.Revoked{}, nil
}

func (h *fuzzed) send(t *testing.T, token string) int {
	t.Helper()
	h.asked, h.by = nil, nil
	body := strings.NewReader(url.Values{"logout_token": {token}}.Encode())
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, backchannel.Path, body)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// Whatever a provider signs is refused, or revokes what encoding/json reads in it as
// well; and only if encoding/json sees that every rule is kept.
func FuzzClaims(f *testing.F) {
	h := newFuzzed(f)
	const head = `{"alg":"EdDSA","kid":"k","typ":"logout+jwt"}`
	const told = `"events":{"http://schemas.openid.net/event/backchannel-logout":{}}`
	for _, claims := range []string{
		`{"iss":"https://id.example","aud":"us","iat":1800000000,"exp":1800000120,"jti":"j","sid":"s",` + told + `}`,
		`{"iss":"https://id.example","aud":["us","also"],"iat":1800000000.5,"exp":1.80000012e9,"jti":"j","sub":"u",` + told + `}`,
		`{"iss":"https://id.example","aud":"us","iat":1800000000,"exp":1800000120,"jti":"\u006a","sub":"u","sid":"s","nonce":null,` + told + `}`,
		`{"iss":"https://id.example","aud":"us","iat":"1","exp":1e999,"jti":"","sub":null,"events":[]}`, `[]`, `null`, ``,
	} {
		f.Add(head, claims)
	}
	f.Add(`{"alg":"EdDSA","kid":"k"}`, "{}")
	f.Add(`{"alg":"none","kid":"k","crit":["exp"]}`, "{}")
	f.Fuzz(func(t *testing.T, head, claims string) {
		part := base64.RawURLEncoding.EncodeToString
		signed := part([]byte(head)) + "." + part([]byte(claims))
		status := h.send(t, signed+"."+part(ed25519.Sign(h.private, []byte(signed))))
		if status != http.StatusOK {
			if status != http.StatusBadRequest || len(h.asked) != 0 {
				t.Fatalf("status %d, and %d revocations", status, len(h.asked))
			}
			return
		}
		var header map[string]any
		var c map[string]any
		if json.Unmarshal([]byte(head), &header) != nil || json.Unmarshal([]byte(claims), &c) != nil || len(h.asked) != 1 {
			t.Fatalf("%d revocations by %q %q", len(h.asked), head, claims)
		}
		r, m := h.asked[0], h.by[0]
		told, _ := c["events"].(map[string]any)
		event, isObject := told["http://schemas.openid.net/event/backchannel-logout"].(map[string]any)
		_, nonce := c["nonce"]
		iat, _ := c["iat"].(float64)
		exp, _ := c["exp"].(float64)
		switch {
		case header["alg"] != "EdDSA", c["iss"] != from, string(m.Issuer) != from, c["jti"] != m.ID, m.ID == "", !isObject, event == nil, nonce:
			t.Fatalf("taken: %q %q", head, claims)
		case exp < 1_800_000_000-60, iat > 1_800_000_000+60, m.Until.Unix() != int64(exp)+60:
			t.Fatalf("taken: %q, until %s", claims, m.Until)
		case r.Kind == events.KindSession && c["sid"] != r.Target, r.Kind == events.KindSubject && (c["sub"] != r.Target || c["sid"] != nil || r.CutTime.Unix() != int64(iat)):
			t.Fatalf("%q revokes %+v", claims, r)
		}
	})
}

// Whatever else is sent is refused.
func FuzzToken(f *testing.F) {
	h := newFuzzed(f)
	for _, token := range []string{"", "a.b.c", "....", "e30.e30.", "e30.e30.AA", "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if status := h.send(t, token); status != http.StatusBadRequest || len(h.asked) != 0 {
			t.Fatalf("status %d for %q", status, token)
		}
	})
}
