package snapshot

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	form "github.com/revocast/revocast/events/snapshot"
)

type metrics struct {
	written, failed  prometheus.Counter
	events, sequence prometheus.Gauge
}

func newMetrics() metrics {
	return metrics{
		written:  prometheus.NewCounter(prometheus.CounterOpts{Name: "revocast_snapshot_written_total", Help: "Snapshots of the feed that this issuer has written."}),
		failed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "revocast_snapshot_failed_total", Help: "Attempts to write one that failed. Sidecars read the feed instead."}),
		events:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "revocast_snapshot_events", Help: "Events in the last snapshot that this issuer has written."}),
		sequence: prometheus.NewGauge(prometheus.GaugeOpts{Name: "revocast_snapshot_sequence", Help: "The feed's number up to which it goes."}),
	}
}

func (m metrics) register(r prometheus.Registerer) error {
	return errors.Join(r.Register(m.written), r.Register(m.failed), r.Register(m.events), r.Register(m.sequence))
}

func (m metrics) wrote(is form.Manifest) {
	m.written.Inc()
	m.events.Set(float64(is.Events))
	m.sequence.Set(float64(is.Sequence))
}
