package token_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// now is the time of every verification unless a test says otherwise.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

type object = tokentest.Object

// prepared marks each token, as the real denylist does by its hashes.
type prepared func(*denylist.Token)

func (p prepared) Prepare(t *denylist.Token) { p(t) }

func newVerifier(t testing.TB, cfg token.Config, issuers ...token.Issuer) *token.Verifier {
	t.Helper()
	m, err := token.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.New(cfg, issuers, prepared(func(*denylist.Token) {}), m)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func config() token.Config { return token.Config{Leeway: 5 * time.Second, CacheBytes: 1 << 20} }
