package issue

import (
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

// Tokens last as long as the longest that exists, whoever gave it, and no verifier's
// leeway is forgotten.
func TestTokensLast(t *testing.T) {
	now := time.Unix(1795310000, 0)
	const margin = events.MaxLeeway + events.MaxSkew
	for _, c := range []struct {
		name  string
		known *ledger
		want  time.Duration
	}{
		{"nothing read", nil, 5*time.Minute + margin},
		{"shorter ones", &ledger{list: []events.Lifetime{{TTL: time.Minute, Seen: now.Add(leaseFor)}}}, 5*time.Minute + margin},
		{"another issuer's", &ledger{list: []events.Lifetime{{TTL: time.Hour, Seen: now.Add(leaseFor)}}}, time.Hour + margin},
		{"an hour's, given ten minutes ago", &ledger{list: []events.Lifetime{{TTL: time.Hour, Seen: now.Add(-10 * time.Minute)}}}, 50*time.Minute + margin},
	} {
		s := New(Config{MaxAccessTTL: func() time.Duration { return 5 * time.Minute }}, Deps{Now: func() time.Time { return now }})
		s.lifetimes.known.Store(c.known)
		if got := s.TokensLast(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
