package logsuite_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest/logsuite"
	"github.com/revocast/revocast/events/memlog"
)

const first = 1_795_310_000_000_000

func TestMemlog(t *testing.T) {
	l := memlog.New(first, 16)
	logsuite.Run(t, func(*testing.T) logsuite.Log { return l })
}

// follower reads from a replica that follows as far as it is asked to.
type follower struct {
	*memlog.Log
	replica *memlog.Replica
}

func (f follower) Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error) {
	f.replica.Follow(max(atLeast.Sequence, f.Last()))
	return f.replica.Load(ctx, atLeast, subjects...)
}

func TestMemlogReplica(t *testing.T) {
	l := memlog.New(first, 16)
	replicas := []*memlog.Replica{l.Replica(), l.Replica(), l.Replica()}
	opened := 0
	logsuite.Run(t, func(*testing.T) logsuite.Log {
		opened++
		return follower{l, replicas[opened%len(replicas)]}
	})
}

// A replica that lags answers from what it has, and not at all if more is wanted.
func TestMemlogReplicaLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memlog.New(first, 16)
		place, _ := logsuite.Place()
		write := func(change func(*events.Append), after events.Position) events.Position {
			a := logsuite.Write(place, after.Sequence)
			change(&a)
			p, err := l.Append(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		keep := func(d time.Duration) func(*events.Append) { return func(a *events.Append) { a.TTL = d } }
		one := write(keep(2*time.Minute), events.Position{})
		slow, late := l.Replica(), l.Replica()
		two := write(keep(time.Minute), one)
		three := write(func(a *events.Append) { a.Rollup = true }, two)
		slow.Follow(two.Sequence)
		sees := func(r *memlog.Replica, want ...events.Position) {
			t.Helper()
			records, err := r.Load(t.Context(), events.Position{}, logsuite.Realm.Journal())
			if err != nil || len(records) != len(want) || len(want) > 0 && records[0].Position != want[0] {
				t.Errorf("at %d: %+v, %v; want %v", r.Applied(), records, err, want)
			}
		}
		sees(slow, two)
		sees(late, one)
		if _, err := slow.Load(t.Context(), three, place); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("a replica that is behind: %v", err)
		}
		// The newer one expires first, and the older is the last again.
		time.Sleep(time.Minute)
		sees(slow, one)
		late.Skew(2 * time.Minute)
		sees(late)
		slow.Follow(three.Sequence)
		late.Follow(three.Sequence)
		sees(slow, three)
		sees(late, three)
		if records, err := l.Load(t.Context(), three, place); err != nil || len(records) != 1 || records[0].Position != three {
			t.Errorf("the log itself: %+v, %v", records, err)
		}
	})
}
