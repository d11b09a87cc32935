package jwks

import "github.com/prometheus/client_golang/prometheus"

// Metrics are shared by the sets of one process; their issuer label takes only
// configured values.
type Metrics struct {
	refreshes *prometheus.CounterVec
	keys      *prometheus.GaugeVec
	fetched   *prometheus.GaugeVec
	announced *prometheus.GaugeVec
}

// NewMetrics registers the metrics with reg, once a process.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_sidecar_jwks_refreshes_total",
			Help: "Attempts to read an issuer's key set, by result (ok, error).",
		}, []string{"issuer", "result"}),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "revocast_sidecar_jwks_keys",
			Help: "Keys in an issuer's set, by state (usable, refused).",
		}, []string{"issuer", "state"}),
		fetched: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "revocast_sidecar_jwks_fetched_timestamp_seconds",
			Help: "When an issuer's key set was last read with success; survives restarts with the saved copy.",
		}, []string{"issuer"}),
		announced: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "revocast_sidecar_jwks_announced_keys",
			Help: "Keys of an issuer of the realm that the feed has announced or withdrawn, with the root's signature.",
		}, []string{"issuer"}),
	}
	for _, c := range []prometheus.Collector{m.refreshes, m.keys, m.fetched, m.announced} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
