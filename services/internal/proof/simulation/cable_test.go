package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
)

var (
	errUnavailable = fmt.Errorf("simulated: %w", events.ErrUnavailable)
	errConflict    = fmt.Errorf("simulated: %w", events.ErrConflict)
	// errBehind is a replica that must be asked again.
	errBehind = errors.New("replica is behind")
)

func isBehind(err error) bool { return errors.Is(err, errBehind) }

// process is one issuer: a service on a cable, with a clock of its own.
type process struct {
	number  int
	ahead   time.Duration
	service *issue.Service
	// declared is when it last looked whether it has said how long its tokens live.
	declared time.Time
}

// boot puts a fresh service in the process's place.
func (w *world) boot(p *process) {
	p.ahead = w.skew()
	p.declared = time.Time{}
	c := &cable{world: w, process: p}
	p.service = issue.New(
		issue.Config{Realm: realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return longestAccess }},
		issue.Deps{
			Journal: c, Feed: c, Notes: c, Passwords: c, Keys: w.keys, Keyer: w.keys.Keyer(), Root: w.keys, Announced: c,
			Now: func() time.Time { return time.Now().Add(p.ahead) },
		},
	)
}

// cable is all that a process has to do with the world. What it does with a broken
// promise ([defect]) is how the simulation itself is put to the test.
type cable struct {
	world   *world
	process *process
}

func (c *cable) call(ctx context.Context, asked *call) error {
	t, ok := ctx.Value(taskKey{}).(*task)
	if !ok {
		return errors.New("a call that belongs to no task")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	return t.call(asked)
}

// Append implements [issue.Journal].
func (c *cable) Append(ctx context.Context, a events.Append) (events.Position, error) {
	w := c.world
	t, _ := ctx.Value(taskKey{}).(*task)
	if w.defect == expiryIsShort && !a.Unguarded {
		a.TTL /= 2
	}
	var at events.Position
	err := c.call(ctx, &call{
		what:        fmt.Sprintf("append %T", a.Envelope.Event),
		conditional: !a.Unguarded,
		effect: func() (err error) {
			at, err = w.append(t, a)
			return err
		},
	})
	if w.defect == conflictIsSuccess && errors.Is(err, events.ErrConflict) {
		return events.Position{Sequence: w.log.Last()}, nil
	}
	return at, err
}

// inFlight is how long a replicated log may take to apply what it has accepted.
const inFlight = 50 * time.Millisecond

// append is the log's. A wildcard guard sees for certain only what was written under
// the identical guard, as in a cluster of servers (ADR-0002).
func (w *world) append(t *task, a events.Append) (events.Position, error) {
	if a.Guard != "" && w.faults.lag > 0 {
		var seen, last uint64
		for _, s := range w.sessions {
			if !strings.HasPrefix(s.place, strings.TrimSuffix(a.Guard, "*")) {
				continue
			}
			if m, ok := lastOf(s.messages, time.Now()); ok {
				last = max(last, m.sequence)
			}
			for _, m := range slices.Backward(s.messages) {
				if !m.gone(time.Now()) && (m.guarded || time.Since(m.at) > inFlight || w.chance(0.5)) {
					seen = max(seen, m.sequence)
					break
				}
			}
		}
		if seen == a.After {
			a.After = last
		}
	}
	at, err := w.log.Append(w.t.Context(), a)
	if err == nil && !w.seen[a.Envelope.ID] {
		w.seen[a.Envelope.ID] = true
		w.committed(t, a, at)
	}
	return at, err
}

// Load implements [issue.Journal]. Any replica may answer.
func (c *cable) Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error) {
	w := c.world
	if w.defect == positionsAreIgnored {
		atLeast = events.Position{}
	}
	var records []events.Record
	err := c.call(ctx, &call{
		what: fmt.Sprintf("load at least %d", atLeast.Sequence%1_000_000),
		effect: func() (err error) {
			replica := w.replicas[w.rng.IntN(len(w.replicas))]
			if w.faults.lag == 0 {
				replica.Follow(w.log.Last())
			} else if replica.Applied() < atLeast.Sequence && w.chance(0.5) {
				replica.Follow(atLeast.Sequence + w.rng.Uint64N(w.log.Last()-atLeast.Sequence+1))
			}
			records, err = replica.Load(w.t.Context(), atLeast, subjects...)
			if errors.Is(err, events.ErrUnavailable) {
				return errBehind // and so is whoever has nothing to give
			}
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return c.corrupt(ctx, records), nil
}

// corrupt gives what a load answers where a promise is broken.
func (c *cable) corrupt(ctx context.Context, records []events.Record) []events.Record {
	t, _ := ctx.Value(taskKey{}).(*task)
	switch c.world.defect {
	case readsAreReused:
		// The session is what was just written; all else is as it was at first.
		if t.records == nil {
			t.records = records
			return records
		}
		mixed := slices.DeleteFunc(slices.Clone(t.records), isSession)
		return append(mixed, slices.DeleteFunc(slices.Clone(records), func(r events.Record) bool { return !isSession(r) })...)
	case clockIsLocal:
		for i, r := range records {
			if !isSession(r) {
				records[i].Time = r.Time.Add(c.process.ahead)
			}
		}
	case none, conflictIsSuccess, positionsAreIgnored, denialsAreDropped, denialsAreShort, expiryIsShort:
	}
	return records
}

func isSession(r events.Record) bool { return strings.Contains(r.Subject, ".journal.session.") }

// Publish implements [issue.Feed].
func (c *cable) Publish(ctx context.Context, _ string, e events.Envelope, ttl time.Duration) (uint64, error) {
	w := c.world
	if w.defect == denialsAreShort {
		ttl /= 2
	}
	var sequence uint64
	err := c.call(ctx, &call{
		what: fmt.Sprintf("publish %T", e.Event),
		effect: func() error {
			sequence = w.announced(e, ttl)
			return nil
		},
	})
	if w.defect == denialsAreDropped && err == nil && w.chance(0.05) {
		w.feed.drop(sequence)
	}
	return sequence, err
}

// Note implements [issue.Notes].
func (c *cable) Note(ctx context.Context, _ string, e events.Envelope) error {
	return c.call(ctx, &call{what: fmt.Sprintf("note %T", e.Event), effect: func() error { return nil }})
}

// Hash implements [issue.Passwords]. It takes its time, in which the world goes on.
func (c *cable) Hash(ctx context.Context, word string) (string, error) {
	var hash string
	err := c.call(ctx, &call{what: "hash", isolated: true, effect: func() (err error) {
		hash, err = c.world.hasher.Hash(context.WithoutCancel(ctx), word)
		return err
	}})
	return hash, err
}

// Verify implements [issue.Passwords].
func (c *cable) Verify(ctx context.Context, hash, word string) (bool, error) {
	var same bool
	err := c.call(ctx, &call{what: "verify", isolated: true, effect: func() (err error) {
		same, err = c.world.hasher.Verify(context.WithoutCancel(ctx), hash, word)
		return err
	}})
	return same, err
}

// Outdated implements [issue.Passwords].
func (c *cable) Outdated(hash string) bool { return c.world.hasher.Outdated(hash) }
