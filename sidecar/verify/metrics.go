package verify

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/sidecar/internal/gate"
)

// Metrics count decisions.
type Metrics struct {
	enforced []prometheus.Counter // by reason
	shadowed []prometheus.Counter // by reason
	stale    prometheus.Counter
}

// NewMetrics registers the metrics with reg, once a process.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "revocast_sidecar_decisions_total",
		Help: "Decisions by verdict (allow, deny, or shadow: allowed only because enforcement is off) and reason.",
	}, []string{"verdict", "reason"})
	m := &Metrics{stale: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "revocast_sidecar_stale_allows_total",
		Help: "Good tokens that passed on a view older than stale-after.",
	})}
	for _, r := range gate.Reasons() {
		verdict := gate.Deny
		if r == gate.ReasonGood || r == gate.ReasonAnonymous {
			verdict = gate.Allow
		}
		m.enforced = append(m.enforced, decisions.WithLabelValues(verdict.String(), r.String()))
		if verdict == gate.Deny {
			m.shadowed = append(m.shadowed, decisions.WithLabelValues("shadow", r.String()))
		} else {
			m.shadowed = append(m.shadowed, nil) // what is good needs no shadow
		}
	}
	for _, c := range []prometheus.Collector{decisions, m.stale} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// count does nothing for nil, behind which no front stands.
func (m *Metrics) count(d gate.Decision) {
	switch {
	case m == nil:
		return
	case d.Shadow:
		m.shadowed[d.Reason].Inc()
	default:
		m.enforced[d.Reason].Inc()
	}
	if d.Stale && d.Reason == gate.ReasonGood {
		m.stale.Inc()
	}
}
