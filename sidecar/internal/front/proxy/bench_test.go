package proxy

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// BenchmarkSweep judges 10,000 live WebSockets again, each of a session of its own, under
// rules.
func BenchmarkSweep(b *testing.B) {
	rig := verifytest.New(b, gate.DefaultPolicy())
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	upstream, err := ParseUpstream("http://127.0.0.1:1")
	if err != nil {
		b.Fatal(err)
	}
	check := rig.Checker(b, route.Rule{Match: []string{"/socket/{id}"}, Ask: gate.Ask{Scopes: []string{"read"}}})
	p, err := New(Config{Upstream: upstream, AnswerWithin: time.Second}, check, metrics, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	const n = 10_000
	for _, token := range rig.Tokens(b, rig.Issuer.EdDSA, n) {
		e := &exchange{
			ResponseWriter: httptest.NewRecorder(), live: p.live, judged: true, begun: time.Now(), cancel: func(error) {},
			request: front.Request{Method: "GET", Host: "a", Target: "/socket/7", Authorization: []string{"Bearer " + token}},
		}
		p.live.add(e)
		p.live.upgrade(e)
		if !p.check.Again(b.Context(), e.request).Allowed() { // and into the cache
			b.Fatal("a good token does not pass")
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		rig.View.Set(time.Now(), true)
		if unsure := p.sweep(b.Context()); len(unsure) > 0 {
			b.Fatalf("of %d memory does not tell", len(unsure))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/connection")
	if ended := p.live.tunnels; ended != n {
		b.Fatalf("%d are left", ended)
	}
}
