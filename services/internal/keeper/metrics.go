package keeper

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/services/internal/keyring"
)

// metrics say whether the keys are in order.
type metrics struct {
	rounds *prometheus.CounterVec
	keys   *prometheus.GaugeVec
	sealed prometheus.Gauge
	read   prometheus.Gauge
}

func newMetrics() metrics {
	return metrics{
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_issuer_key_rounds_total",
			Help: "Times the keys were read and put in order, by outcome (ok, error).",
		}, []string{"outcome"}),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "revocast_issuer_keys",
			Help: "Keys by use (sign, mac) and phase (incomplete, announced, signing, retired, revoked).",
		}, []string{"use", "phase"}),
		sealed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "revocast_issuer_keys_unusable",
			Help: "Keys of the journal that this issuer cannot open: it has another realm's key directory, or the journal is damaged.",
		}),
		read: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "revocast_issuer_keys_read_timestamp_seconds",
			Help: "The broker's time at the last reading of the keys.",
		}),
	}
}

func (m metrics) register(reg prometheus.Registerer) error {
	return errors.Join(reg.Register(m.rounds), reg.Register(m.keys), reg.Register(m.sealed), reg.Register(m.read))
}

func (m metrics) count(err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	m.rounds.WithLabelValues(outcome).Inc()
}

func (m metrics) show(ring keyring.Ring, unusable int) {
	m.keys.Reset()
	for _, k := range ring.Keys {
		m.keys.WithLabelValues(keyring.UseSign, k.Phase(ring.Now).String()).Inc()
	}
	for _, k := range ring.MACs {
		m.keys.WithLabelValues(keyring.UseMAC, k.Phase(ring.Now).String()).Inc()
	}
	m.sealed.Set(float64(unusable))
	m.read.Set(float64(ring.Now.UnixMilli()) / 1000)
}
