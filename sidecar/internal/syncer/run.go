package syncer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

const (
	// queue is how many inputs may wait for the owner. Behind it live messages wait
	// in the subscription, up to liveMessages and liveBytes; what is dropped there
	// shows as a hole with the next one and is read from the stream.
	queue        = 256
	liveMessages = 64 << 10
	liveBytes    = 16 << 20

	// tick is how often the machine is told the time.
	tick = time.Second
	// ping finds a connection that died silently, in two to three periods.
	ping = 5 * time.Second
	// slowestReconnect bounds the time between two attempts to connect.
	slowestReconnect = 5 * time.Second
)

// errClosed should not happen: the connection is told to try for ever.
var errClosed = errors.New("the connection to the broker was closed")

// input is something that happened, to be told to the machine by its owner.
type input func(*replica.Machine) replica.Effects

// run is a syncer at work.
type run struct {
	*Syncer
	conn   *nats.Conn
	stop   <-chan struct{}
	closed chan struct{}
	inputs chan input

	fetcher *fetcher
	// due fires when the pending fetch may begin.
	due     *time.Timer
	pending replica.Fetch

	// What the log said last, and what it will say next.
	told    replica.State
	rejects uint64
	refusal error
	// unreachable is why there is no connection.
	unreachable string

	// names is where the answers to askName come.
	names string
	// loads is what the loader is to load next.
	loads chan replica.Load

	reports *reporter
}

// options are those that the syncer relies on.
func (r *run) options() []nats.Option {
	connected := func(*nats.Conn) {
		r.log.Info("connected to the broker")
		r.hand(func(m *replica.Machine) replica.Effects {
			if m.State().Epoch == "" {
				r.askName()
			}
			return m.Connected(clock.Now())
		})
	}
	return []nats.Option{
		nats.Name("revocast-sidecar " + r.cfg.ID),
		nats.CustomInboxPrefix(topology.Sidecar.InboxPrefix()),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may be mended while we try
		nats.CustomReconnectDelay(reconnectDelay),
		nats.ReconnectBufSize(-1), // a request is worth nothing after a reconnect
		nats.PingInterval(ping),
		nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(connected),
		nats.ReconnectHandler(connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			r.log.Warn("disconnected from the broker", zap.Error(err))
			r.hand(func(m *replica.Machine) replica.Effects {
				m.Disconnected()
				return replica.Effects{}
			})
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			r.log.Warn("broker", zap.Error(err))
		}),
		nats.NoCallbacksAfterClientClose(),
		nats.ClosedHandler(func(*nats.Conn) { close(r.closed) }),
	}
}

// reconnectDelay grows with the attempts and is spread, so that a broker that
// comes back is not met by all sidecars at once.
func reconnectDelay(attempts int) time.Duration {
	return spread(min(100*time.Millisecond<<min(attempts, 6), slowestReconnect))
}

// spread gives anything between half of d and all of it.
func spread(d time.Duration) time.Duration {
	return d - rand.N(d/2+1) //nolint:gosec // a spread, not a secret
}

// subscribe also works while there is no connection yet. Connected comes through
// the inputs, and so after this.
func (r *run) subscribe(conn *nats.Conn) error {
	r.conn = conn
	inbox := conn.NewInbox()
	r.fetcher = newFetcher(conn, "$JS.API.DIRECT.GET."+r.cfg.Realm.FeedStream(), inbox)
	answers, err := conn.Subscribe(inbox+".*", r.fetcher.receive)
	if err != nil {
		return fmt.Errorf("subscribing to %s: %w", inbox, err)
	}
	if err := answers.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("setting the limits of %s: %w", inbox, err)
	}
	feed, err := conn.Subscribe(r.cfg.Realm.Live(), r.live)
	if err != nil {
		return fmt.Errorf("subscribing to %s: %w", r.cfg.Realm.Live(), err)
	}
	if err := feed.SetPendingLimits(liveMessages, liveBytes); err != nil {
		return fmt.Errorf("setting the limits of %s: %w", r.cfg.Realm.Live(), err)
	}
	if err := r.subscribeNames(conn); err != nil {
		return err
	}
	if _, err := conn.Subscribe(r.cfg.Realm.FleetAsk(), r.asked); err != nil {
		return fmt.Errorf("subscribing to %s: %w", r.cfg.Realm.FleetAsk(), err)
	}
	return nil
}

// live takes in one message of the live feed. NATS calls it for one at a time.
func (r *run) live(m *nats.Msg) {
	message, ok := readLive(m, r.cfg.Realm.FeedStream(), clock.Now(), clock.Elapsed())
	if !ok {
		r.rejected.Add(1)
		return
	}
	r.hand(func(m *replica.Machine) replica.Effects {
		r.arrived(message)
		return m.Live(message)
	})
}

// hand gives an input to the owner, unless there is none any more.
func (r *run) hand(in input) {
	select {
	case r.inputs <- in:
	case <-r.stop:
	}
}

// loop owns the machine.
func (r *run) loop() error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	r.due = time.NewTimer(tick)
	r.due.Stop()
	defer r.due.Stop()
	defer r.reports.timer.Stop()
	for {
		select {
		case <-r.stop:
			return nil
		case <-r.closed:
			return errors.Join(errClosed, r.conn.LastError())
		case in := <-r.inputs:
			r.perform(in(r.machine))
		case <-r.restart:
			r.startOver()
		case <-r.fetcher.done:
			r.collect()
		case <-r.due.C:
			r.perform(r.begin(r.pending))
		case <-ticker.C:
			r.collect()
			r.perform(r.machine.Tick(clock.Now()))
			r.tell()
		case <-r.reports.timer.C:
			r.report()
		}
	}
}

// collect passes on the answer to the fetch under way, if it has ended.
func (r *run) collect() {
	now := time.Now()
	a, ok := r.fetcher.take(now)
	switch {
	case !ok:
	case a.err != nil:
		r.log.Debug("fetching from the feed", zap.Error(a.err))
		r.perform(r.machine.Failed(a.id))
	case a.last == 0:
		r.perform(r.machine.Nothing(a.id))
	default:
		b := replica.Batch{ID: a.id, Last: a.last, Entries: a.entries, Events: a.events}
		r.perform(r.machine.Fetched(b, clock.Now()))
	}
}

// perform carries out what the machine wants, and then publishes what it claims.
func (r *run) perform(e replica.Effects) {
	for e != (replica.Effects{}) {
		switch {
		case e.Apply != nil:
			e = r.apply(*e.Apply)
		case e.Load != nil:
			r.due.Stop()
			r.wantSnapshot(*e.Load)
			e = replica.Effects{}
		case e.Fetch.After > 0:
			r.pending = *e.Fetch
			r.due.Reset(spread(e.Fetch.After))
			e = replica.Effects{}
		default:
			r.due.Stop()
			e = r.begin(*e.Fetch)
		}
	}
	r.publish()
	r.enforced()
}

func (r *run) apply(a replica.Apply) replica.Effects {
	if err := r.denylist.Apply(a); err != nil {
		r.refusal = fmt.Errorf("applying the feed up to %d: %w", a.Cursor.Sequence, err)
		return r.machine.NotApplied()
	}
	return r.machine.Applied()
}

// begin starts a fetch; its answer comes through the fetcher.
func (r *run) begin(f replica.Fetch) replica.Effects {
	if err := r.fetcher.ask(f); err != nil {
		r.log.Debug("fetching from the feed", zap.Error(err))
		return r.machine.Failed(f.ID)
	}
	return replica.Effects{}
}
