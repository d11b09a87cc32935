package syncer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// collector shows a syncer's state when it is asked, so that nothing is counted
// twice and nothing is kept up to date for nobody.
type collector struct {
	syncer  *Syncer
	metrics []metric
}

type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(replica.State) float64
}

func newCollector(s *Syncer) *collector {
	const prefix = "revocast_sidecar_feed_"
	c := &collector{syncer: s}
	gauge := func(name, help string, value func(replica.State) float64) {
		desc := prometheus.NewDesc(prefix+name, help, nil, nil)
		c.metrics = append(c.metrics, metric{desc, prometheus.GaugeValue, value})
	}
	counter := func(name, help string, value func(replica.State) uint64) {
		desc := prometheus.NewDesc(prefix+name, help, nil, nil)
		asFloat := func(st replica.State) float64 { return float64(value(st)) }
		c.metrics = append(c.metrics, metric{desc, prometheus.CounterValue, asFloat})
	}

	gauge("connected", "1 while there is a connection to the broker.",
		func(st replica.State) float64 { return oneIf(st.Phase != replica.Offline) })
	gauge("following", "1 while live messages are applied as they come.",
		func(st replica.State) float64 { return oneIf(st.Phase == replica.Following) })
	gauge("caught_up", "1 once the view has been proved complete since the start.",
		func(st replica.State) float64 { return oneIf(st.CaughtUp) })
	gauge("applied_sequence", "Number of the last feed message that is enforced.",
		func(st replica.State) float64 { return float64(st.Sequence) })
	gauge("lag", "Numbers between the last message enforced and the last known to exist.",
		func(st replica.State) float64 { return float64(st.Target - st.Sequence) })
	gauge("fresh_as_of_timestamp_seconds", "The moment up to which the view is proved complete; 0 for never.",
		func(st replica.State) float64 { return seconds(st.FreshAsOf) })
	gauge("clock_skew_seconds", "How much the local clock is ahead of the broker's.",
		func(st replica.State) float64 { return st.Skew(clock.Now(), clock.Elapsed()).Seconds() })

	counter("resyncs_total", "Times the feed was followed from its beginning again: a new epoch, or a rollback.",
		func(st replica.State) uint64 { return st.Resyncs })
	counter("snapshots_total", "Times the feed was begun with a snapshot.",
		func(st replica.State) uint64 { return st.Snapshots })
	counter("repairs_total", "Holes among live messages.",
		func(st replica.State) uint64 { return st.Repairs })
	counter("overflows_total", "Times more live messages waited than there is room for, and were read again.",
		func(st replica.State) uint64 { return st.Overflows })
	counter("duplicates_total", "Live messages that had been applied already.",
		func(st replica.State) uint64 { return st.Duplicates })
	counter("failed_fetches_total", "Fetches that ended without a whole answer.",
		func(st replica.State) uint64 { return st.FailedFetches })
	counter("failed_applies_total", "Times the denylist did not take what it was given.",
		func(st replica.State) uint64 { return st.FailedApplies })
	counter("malformed_total", "Events that could not be decoded.",
		func(st replica.State) uint64 { return st.Malformed })
	counter("unknown_total", "Events of a kind that this version does not know.",
		func(st replica.State) uint64 { return st.Unknown })
	counter("unsigned_total", "Events that would allow and are not signed by the realm's root key.",
		func(st replica.State) uint64 { return st.Unsigned })
	counter("ignored_total", "Events that mean nothing to a sidecar.",
		func(st replica.State) uint64 { return st.Ignored })
	counter("rejected_total", "Live messages whose place in the feed was not certain.",
		func(replica.State) uint64 { return s.Rejected() })
	return c
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		out <- m.desc
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(out chan<- prometheus.Metric) {
	st := c.syncer.State()
	for _, m := range c.metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(st))
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
