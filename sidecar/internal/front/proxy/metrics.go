package proxy

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/sidecar/internal/gate"
)

// Metrics count what becomes of requests that were let in.
type Metrics struct {
	failures *prometheus.CounterVec
	endings  *prometheus.CounterVec
	tunnels  prometheus.Gauge
}

// NewMetrics registers the metrics with reg, once a process.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_sidecar_proxy_failures_total",
			Help: "Requests that were let in and the application did not answer, by the status that the client got (502, 504).",
		}, []string{"status"}),
		endings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_sidecar_proxy_ended_total",
			Help: "WebSockets and long answers ended before their end, by the reason why their request would not pass any more.",
		}, []string{"reason"}),
		tunnels: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "revocast_sidecar_proxy_websockets", Help: "WebSockets that are open.",
		}),
	}
	return m, errors.Join(reg.Register(m.failures), reg.Register(m.endings), reg.Register(m.tunnels))
}

func (m *Metrics) failed(status int) { m.failures.WithLabelValues(strconv.Itoa(status)).Inc() }

func (m *Metrics) ended(r gate.Reason) { m.endings.WithLabelValues(r.String()).Inc() }
