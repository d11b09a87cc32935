package syncer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

const (
	// signOffWithin bounds how long a broker may take to hear the last report.
	signOffWithin = time.Second
	// maxArrivals bounds how many live entries are timed at once.
	maxArrivals = 1024
)

// reporter tells the issuers how far the feed is enforced here, and times how long
// what came live took. It is the loop's alone.
type reporter struct {
	schedule *schedule
	timer    *time.Timer
	armed    time.Time
	// arrivals are live entries that are not known to be enforced yet, as they came.
	arrivals []arrival

	propagation prometheus.Histogram
	sent        *prometheus.CounterVec
}

type arrival struct {
	sequence uint64
	stored   time.Time
}

// reportMetrics are what a reporter counts with.
type reportMetrics struct {
	propagation prometheus.Histogram
	sent        *prometheus.CounterVec
}

func newReportMetrics(metrics prometheus.Registerer) (reportMetrics, error) {
	m := reportMetrics{
		propagation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "revocast_sidecar_propagation_seconds",
			Help: "From the broker's timestamp of a revocation or lift that came live to the moment it was enforced here, by this machine's clock: " +
				"what the two clocks differ by (revocast_sidecar_feed_clock_skew_seconds) is in it; less than nothing counts as nothing. The issuers' revocast_fleet_propagation_seconds goes by one clock.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 17),
		}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_sidecar_reports_total",
			Help: "Reports of the applied position by what they were sent for: asked (by an issuer), unasked (a change, or a sign of life), signed_off.",
		}, []string{"reason"}),
	}
	for _, c := range []prometheus.Collector{m.propagation, m.sent} {
		if err := metrics.Register(c); err != nil {
			return m, fmt.Errorf("registering the reports' metrics: %w", err)
		}
	}
	return m, nil
}

func newReporter(m reportMetrics, c replica.Cursor, now time.Time) *reporter {
	r := &reporter{schedule: newSchedule(c, now), timer: time.NewTimer(keepalive), propagation: m.propagation, sent: m.sent}
	r.timer.Stop()
	return r
}

// asked takes in one ask. NATS calls it for one at a time.
func (r *run) asked(m *nats.Msg) {
	a, err := codec.DecodeAsk(m.Data)
	if err != nil {
		r.log.Warn("an issuer's ask cannot be read", zap.Error(err))
		return
	}
	r.hand(func(*replica.Machine) replica.Effects {
		r.reports.schedule.ask(a, time.Now())
		return replica.Effects{}
	})
}

// arrived remembers a live entry until it is enforced. What came before the first proof
// of completeness waits for that, and would be timed for it.
func (r *run) arrived(m replica.Message) {
	switch m.Event.(type) { //nolint:gochecksumtype // nothing else is enforced
	case events.Revoked, events.Lifted:
		if st := r.State(); st.CaughtUp && m.Sequence > st.Sequence && len(r.reports.arrivals) < maxArrivals {
			r.reports.arrivals = append(r.reports.arrivals, arrival{m.Sequence, m.Stored})
		}
	}
}

// enforced is called whenever a new state has been published.
func (r *run) enforced() {
	st, p, now := r.State(), r.reports, time.Now()
	if st.Epoch != p.schedule.epoch {
		p.arrivals = p.arrivals[:0]
	}
	n := 0
	for n < len(p.arrivals) && p.arrivals[n].sequence <= st.Sequence {
		p.propagation.Observe(max(now.Sub(p.arrivals[n].stored).Seconds(), 0))
		n++
	}
	p.arrivals = append(p.arrivals[:0], p.arrivals[n:]...)
	p.schedule.enforced(st.Cursor, now)
	p.schedule.became(r.standing(now), now)
	p.arm()
}

// arm sets the timer to when the next report is due.
func (p *reporter) arm() {
	if due := p.schedule.due; !due.Equal(p.armed) {
		p.armed = due
		p.timer.Reset(time.Until(due))
	}
}

// standing is how this sidecar stands to the feed.
func (r *run) standing(now time.Time) events.SidecarState {
	switch st := r.State(); {
	case st.Phase == replica.Offline:
		return events.StateUnknown
	case r.cfg.StaleAfter > 0 && !st.FreshAsOf.IsZero() && now.Sub(st.FreshAsOf) >= r.cfg.StaleAfter:
		return events.StateStale
	case !st.CaughtUp || st.Phase != replica.Following:
		return events.StateCatchingUp
	}
	return events.StateFollowing
}

// report sends what is due. Without a connection there is nobody to hear it, and
// getting one is a change that will be reported.
func (r *run) report() {
	now := time.Now()
	p := r.reports
	defer p.arm()
	if r.State().Phase == replica.Offline {
		p.schedule.skipped(now)
		return
	}
	reason := "unasked"
	if p.schedule.urgent {
		reason = "asked"
	}
	err := r.send(r.standing(now), now)
	p.schedule.sent(now)
	if err != nil {
		r.log.Debug("reporting", zap.Error(err))
		return
	}
	p.sent.WithLabelValues(reason).Inc()
}

// signOff tells the issuers, in an orderly end, to expect this sidecar no more.
func (r *run) signOff(ctx context.Context) {
	if !r.conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, signOffWithin)
	defer cancel()
	err := r.send(events.StateSignedOff, time.Now())
	if err == nil {
		err = r.conn.FlushWithContext(ctx)
	}
	if err != nil {
		r.log.Warn("signing off; issuers will miss this sidecar", zap.Error(err))
		return
	}
	r.reports.sent.WithLabelValues("signed_off").Inc()
}

func (r *run) send(state events.SidecarState, now time.Time) error {
	st := r.State()
	report := events.Report{
		Sidecar: r.cfg.ID, Instance: r.cfg.Instance, Replaces: r.cfg.Replaces, Version: r.cfg.Version, State: state,
		Epoch: st.Epoch, Sequence: st.Sequence, FreshAsOf: st.FreshAsOf, Entries: uint64(max(r.entries(), 0)),
		Asked: r.reports.schedule.asked, Held: r.reports.schedule.held(now),
	}
	if st.Epoch == "" {
		report.Sequence = 0
	}
	if st.Target > st.Sequence {
		report.Lag = st.Target - st.Sequence
	}
	body, err := codec.EncodeReport(report)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := r.conn.Publish(r.cfg.Realm.Report(r.cfg.ID), body); err != nil {
		return fmt.Errorf("publishing the report: %w", err)
	}
	return nil
}

// ID makes a name that reports may carry of a host's: letters, digits, '-' and '_'. A
// name that is one already stays as it is.
func ID(host string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, host)
}
