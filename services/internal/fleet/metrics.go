package fleet

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/events"
)

type metrics struct {
	reports     *prometheus.CounterVec
	asks        prometheus.Counter
	propagation prometheus.Histogram
}

func newMetrics() metrics {
	return metrics{
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_fleet_reports_total",
			Help: "Reports of sidecars by what became of them: taken, signed_off, full (more sidecars than are kept track of), malformed, misplaced (on another sidecar's subject).",
		}, []string{"outcome"}),
		asks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "revocast_fleet_asks_total", Help: "Times this issuer asked the fleet to report.",
		}),
		propagation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "revocast_fleet_propagation_seconds",
			Help: "From the broker's acknowledgement of a revocation to the moment a sidecar enforced it, and what its report was under way, " +
				"by this issuer's clock: one of each sidecar for every position asked about, which is not every revocation (ADR-0017).",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 17),
		}),
	}
}

func (m metrics) register(r prometheus.Registerer, f *Fleet) error {
	return errors.Join(r.Register(m.reports), r.Register(m.asks), r.Register(m.propagation), r.Register(&collector{
		fleet: f,
		sidecars: prometheus.NewDesc("revocast_fleet_sidecars",
			"Sidecars expected to enforce revocations, by the state they last reported.", []string{"state"}, nil),
		silence: prometheus.NewDesc("revocast_fleet_silence_seconds",
			"For how long the sidecar has been silent of which nothing was heard for longest; each reports once a minute and more.", nil, nil),
		lag: prometheus.NewDesc("revocast_fleet_lag",
			"Most that any sidecar was behind when it reported, in feed messages.", nil, nil),
		full: prometheus.NewDesc("revocast_fleet_full",
			"1 if there were lately more sidecars than are kept track of: nothing can be said to be enforced everywhere.", nil, nil),
	}))
}

// collector reads the table when it is asked.
type collector struct {
	fleet                        *Fleet
	sidecars, silence, lag, full *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.sidecars, c.silence, c.lag, c.full} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(out chan<- prometheus.Metric) {
	now, lifetime := time.Now(), c.fleet.cfg.Lifetime()
	states := map[events.SidecarState]int{
		events.StateFollowing: 0, events.StateCatchingUp: 0, events.StateStale: 0, events.StateUnknown: 0,
	}
	var silence time.Duration
	var lag uint64
	full := 0.0
	c.fleet.mu.Lock()
	for _, m := range c.fleet.table.members {
		states[m.State]++
		silence, lag = max(silence, now.Sub(m.Seen)), max(lag, m.Lag)
	}
	if c.fleet.table.overfull(now, lifetime) {
		full = 1
	}
	c.fleet.mu.Unlock()
	for state, n := range states {
		out <- prometheus.MustNewConstMetric(c.sidecars, prometheus.GaugeValue, float64(n), state.String())
	}
	out <- prometheus.MustNewConstMetric(c.silence, prometheus.GaugeValue, silence.Seconds())
	out <- prometheus.MustNewConstMetric(c.lag, prometheus.GaugeValue, float64(lag))
	out <- prometheus.MustNewConstMetric(c.full, prometheus.GaugeValue, full)
}
