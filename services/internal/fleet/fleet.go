package fleet

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
)

const (
	// maxSidecars is how many are kept track of: twice what fleets are measured for.
	maxSidecars = 20_000
	// perSidecar is the time that a fleet's answers to one ask are spread over, and the
	// least between two asks, for each sidecar: 10,000 reports a second at most.
	perSidecar = 100 * time.Microsecond
	// leastGap is the least time between two asks of however small a fleet.
	leastGap = 5 * time.Millisecond
	// sampleEvery is the least time between two asks that nobody waits for, and
	// samplePer what is added for each sidecar: 100 reports a second at most.
	sampleEvery = time.Second
	samplePer   = 10 * time.Millisecond
	// sampleFor is how long answers to those are waited for.
	sampleFor = 30 * time.Second
	// settleAfter is how long after the first ask an issuer believes that it knows who
	// there is, whatever their number, and firstSpread what it asks for before it does.
	settleAfter = time.Second
	firstSpread = 500 * time.Millisecond
	// maxRounds bounds how many positions are asked about at a time.
	maxRounds = 256
	// upkeep is how often silent sidecars are looked for.
	upkeep = time.Second
	// pendingReports and pendingBytes bound what waits to be read.
	pendingReports = 64 << 10
	pendingBytes   = 16 << 20
)

// Config says whose fleet it is.
type Config struct {
	Realm subject.Realm
	// Lifetime gives the longest time for which any sidecar may accept a token that was
	// minted already: for so long a silent sidecar is expected.
	Lifetime func() time.Duration
}

// Deps are what a [Fleet] works with. All are required; the connection stays the
// caller's.
type Deps struct {
	Conn    *nats.Conn
	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Fleet is what this issuer knows of the sidecars. It is safe for concurrent use.
type Fleet struct {
	cfg     Config
	conn    *nats.Conn
	log     *zap.Logger
	metrics metrics
	// wake makes Run look at what is to be asked.
	wake chan struct{}

	mu    sync.Mutex
	table *table
	// since is when this issuer began to listen, asked when it last asked everybody
	// because it had no way to know them; zero if not yet.
	since, asked time.Time
	// epoch and latest are the feed's, by its last heartbeat and our own announcements;
	// beat is when that heartbeat came, and beaten its number.
	epoch  events.Epoch
	latest uint64
	beat   time.Time
	beaten uint64
	// rounds are the positions asked about, by sequence of the present epoch.
	rounds map[uint64]*round
	// wanted is the highest sequence to be asked about, everybody that all are to report
	// in any case; not before next.
	wanted    uint64
	everybody bool
	next      time.Time
	// acks are when the broker acknowledged our last announcements, a ring that turn
	// goes round in; sample is when a position may be asked about next that nobody waits
	// for.
	acks   [keptAcks]ack
	turn   int
	sample time.Time
	// refreshed is when everybody was last asked for somebody who looks.
	refreshed time.Time
	// heard is closed when there is something new for those who wait.
	heard   chan struct{}
	waiting int
}

// New registers the metrics. It listens to nothing yet.
func New(cfg Config, deps Deps) (*Fleet, error) {
	f := &Fleet{
		cfg: cfg, conn: deps.Conn, log: deps.Log, metrics: newMetrics(),
		wake: make(chan struct{}, 1), heard: make(chan struct{}),
		rounds: map[uint64]*round{},
	}
	f.table = newTable(maxSidecars, f.forget)
	if err := f.metrics.register(deps.Metrics, f); err != nil {
		return nil, fmt.Errorf("registering the fleet's metrics: %w", err)
	}
	return f, nil
}

// Run listens until ctx ends, then returns nil; an outage of the broker it sits out.
func (f *Fleet) Run(ctx context.Context) error {
	for s, handle := range map[string]nats.MsgHandler{f.cfg.Realm.Reports(): f.report, f.cfg.Realm.LiveHeartbeat(): f.heartbeat} {
		sub, err := f.conn.Subscribe(s, handle)
		if err != nil {
			return fmt.Errorf("subscribing to %s: %w", s, err)
		}
		defer func() { _ = sub.Unsubscribe() }() // only fails once the connection is gone
		if err := sub.SetPendingLimits(pendingReports, pendingBytes); err != nil {
			return fmt.Errorf("setting the limits of %s: %w", s, err)
		}
	}
	f.mu.Lock()
	f.since = time.Now()
	f.mu.Unlock()
	ticker := time.NewTicker(upkeep)
	defer ticker.Stop()
	later := time.NewTimer(upkeep)
	defer later.Stop()
	reconnects := ^uint64(0) // no count of them, so that the first look asks
	for {
		if now := f.conn.Stats().Reconnects; now != reconnects && f.conn.IsConnected() {
			reconnects = now
			f.meet()
		}
		if wait := f.askIfDue(time.Now()); wait > 0 {
			later.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			f.keep(now)
		case <-f.wake:
		case <-later.C:
		}
	}
}

// meet asks everybody, since there may be somebody who spoke before we listened.
func (f *Fleet) meet() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.everybody = time.Now(), true
}

// keep forgets what is over.
func (f *Fleet) keep(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.table.expire(now, f.cfg.Lifetime())
	for sequence, r := range f.rounds {
		if r.waiters == 0 && now.Sub(r.acked) > sampleFor {
			delete(f.rounds, sequence)
		}
	}
}

// askIfDue publishes what is to be asked, or says how long that has to wait.
func (f *Fleet) askIfDue(now time.Time) (wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wanted == 0 && !f.everybody {
		return 0
	}
	if wait := f.next.Sub(now); wait > 0 {
		return wait
	}
	spread := f.spread()
	if !f.settled(now) {
		spread = max(spread, firstSpread)
	}
	f.next = now.Add(max(leastGap, spread))
	if f.wanted > 0 {
		f.publish(events.Ask{Epoch: f.epoch, Sequence: f.wanted, Spread: spread})
	}
	if f.everybody {
		f.publish(events.Ask{Spread: spread})
	}
	f.wanted, f.everybody = 0, false
	return 0
}

// spread is the time that the fleet's answers to one ask take.
func (f *Fleet) spread() time.Duration { return time.Duration(len(f.table.members)) * perSidecar }

// settled reports whether whoever was there when this issuer began to listen has had
// the time to say so.
func (f *Fleet) settled(now time.Time) bool {
	return !f.asked.IsZero() && now.Sub(f.asked) >= settleAfter+f.spread()
}

// publish sends one ask. One that is lost shows: whoever waits is told who is missing.
func (f *Fleet) publish(a events.Ask) {
	body, err := codec.EncodeAsk(a)
	if err == nil {
		err = f.conn.Publish(f.cfg.Realm.FleetAsk(), body)
	}
	if err != nil {
		f.log.Warn("asking the fleet", zap.Error(err))
		return
	}
	f.metrics.asks.Inc()
}

// report takes in one report. NATS calls it for one at a time.
func (f *Fleet) report(m *nats.Msg) {
	r, err := codec.DecodeReport(m.Data)
	if err != nil {
		f.metrics.reports.WithLabelValues(string(malformed)).Inc()
		return
	}
	if m.Subject != f.cfg.Realm.Report(r.Sidecar) {
		f.metrics.reports.WithLabelValues(string(misplaced)).Inc()
		return
	}
	f.take(r, time.Now())
}

// forget lets go of what somebody has said who is expected no more, so that there is
// never more of it than there are members.
func (f *Fleet) forget(k key) {
	for _, r := range f.rounds {
		delete(r.answered, k)
	}
}

func (f *Fleet) take(r events.Report, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.table.take(r, now)
	f.metrics.reports.WithLabelValues(string(o)).Inc()
	if o == taken {
		for _, round := range f.rounds {
			if d, first := round.take(r, now); first {
				f.metrics.propagation.Observe(d.Seconds())
			}
		}
	}
	f.tell()
}

// heartbeat takes in what the feed says of itself.
func (f *Fleet) heartbeat(m *nats.Msg) {
	e, err := codec.Decode(m.Data)
	if err != nil {
		return
	}
	beat, ok := e.Event.(events.Heartbeat)
	sequence, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if !ok || err != nil || sequence == 0 || sequence > events.MaxSequence {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if beat.Epoch != f.epoch || sequence <= f.beaten {
		f.begin(beat.Epoch)
	}
	f.latest, f.beat, f.beaten = max(f.latest, sequence), time.Now(), sequence
	f.tell()
}

// begin takes in that this is another life of the feed, or that it was put back to an
// older copy. What was waited for in the one before, nobody will confirm any more.
func (f *Fleet) begin(epoch events.Epoch) {
	for _, r := range f.rounds {
		r.epoch = ""
	}
	clear(f.rounds)
	f.epoch, f.latest, f.acks = epoch, 0, [keptAcks]ack{}
}

// tell wakes those who wait.
func (f *Fleet) tell() {
	if f.waiting > 0 {
		close(f.heard)
		f.heard = make(chan struct{})
	}
}
