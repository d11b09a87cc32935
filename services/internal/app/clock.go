package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

// silence is how long the broker's heartbeat may be missing.
const silence = 5 * time.Second

// clock compares this machine's clock with the broker's, by the heartbeat that
// the broker publishes every second.
type clock struct {
	arrived atomic.Int64 // unix nanoseconds of the last heartbeat; zero before any
	skew    atomic.Int64 // nanoseconds that this clock is ahead
	// sequence is the last heartbeat's place in the feed; back is set when one came
	// from before it: somebody put the feed back to an older copy of itself.
	sequence atomic.Uint64
	back     atomic.Bool
}

// watchClock follows the heartbeat for as long as the connection lives.
func watchClock(conn *nats.Conn, realm subject.Realm, metrics prometheus.Registerer) (*clock, error) {
	c := &clock{}
	if _, err := conn.Subscribe(realm.LiveHeartbeat(), c.beat); err != nil {
		return nil, fmt.Errorf("following the heartbeat: %w", err)
	}
	return c, metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "revocast_issuer_clock_skew_seconds",
		Help: "How far this issuer's clock is ahead of the broker's, as of the last heartbeat.",
	}, func() float64 { return time.Duration(c.skew.Load()).Seconds() }))
}

func (c *clock) beat(m *nats.Msg) {
	now := now()
	stored, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return // no heartbeat of the feed's
	}
	places := m.Header.Values(jetstream.SequenceHeader)
	if len(places) != 1 {
		return // whoever published it has written one of them
	}
	sequence, err := strconv.ParseUint(places[0], 10, 64)
	if err != nil {
		return
	}
	c.skew.Store(int64(now.Sub(stored)))
	c.arrived.Store(now.UnixNano())
	if c.sequence.Swap(sequence) > sequence {
		c.back.Store(true)
	}
}

// check returns why this clock is not to be trusted.
func (c *clock) check(now time.Time) error {
	arrived := c.arrived.Load()
	if arrived == 0 || now.Sub(time.Unix(0, arrived)) > silence {
		return errors.New("no heartbeat from the broker")
	}
	if skew := time.Duration(c.skew.Load()); skew.Abs() > events.MaxSkew {
		return fmt.Errorf("clock is %s off the broker's, at most %s", skew.Round(time.Millisecond), events.MaxSkew)
	}
	return nil
}

// standIn beats for the server while it is silent (ADR-0009).
func (a *App) standIn(ctx context.Context) error {
	for {
		err := a.realm.StandIn(ctx)
		if !aSecond(ctx) {
			return nil
		}
		a.log.Warn("listening to the heartbeat again", zap.Error(err))
	}
}

// sourceAgain lets what reads the feed through the server begin again, as a start does:
// else AUDIT would miss what has old sequences, and the finisher with it.
func (a *App) sourceAgain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return a.realm.Ensure(ctx)
}

// readiness keeps finding out whether this issuer may be sent requests, and says
// so when it changes. The first time every stream must really run; later the
// heartbeat, the clock and the keys decide, since a fail-over may leave AUDIT behind
// for a minute in which requests can be served all the same.
func (a *App) readiness(ctx context.Context) error {
	running := false
	for {
		err := errors.Join(a.clock.check(now()), a.keys.CanSign())
		if !a.conn.IsConnected() {
			err = errors.Join(errNotConnected, err)
			if why := a.conn.LastError(); why != nil { // a handshake that failed, say
				a.unreached(why)
			}
		}
		if a.clock.back.Swap(false) {
			a.log.Warn("the feed's sequences have gone back: it was put back to an older copy of itself")
			running = false
			if fault := a.sourceAgain(ctx); fault != nil {
				a.clock.back.Store(true)
				err = errors.Join(fault, err)
			}
		}
		if !running {
			check, cancel := context.WithTimeout(ctx, 5*time.Second)
			err = errors.Join(a.realm.Ready(check), err)
			cancel()
			running = err == nil
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what a cancelled check says is nothing
		}
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		if before := a.unready.Swap(&reason); before == nil || *before != reason {
			if err == nil {
				a.log.Info("ready")
			} else {
				a.log.Warn("not ready", zap.Error(err))
			}
		}
		if !aSecond(ctx) {
			return nil
		}
	}
}
