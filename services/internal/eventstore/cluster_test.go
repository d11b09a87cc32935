package eventstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/eventstest/logsuite"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
)

func TestJournalOnACluster(t *testing.T) {
	t.Parallel()
	c := eventstest.RunCluster(t, 3)
	// Each handle is on a node of its own, in turn, as issuers are.
	var mu sync.Mutex
	opened := 0
	logsuite.Run(t, func(t *testing.T) logsuite.Log {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		opened++
		return open(t, c.Nodes[opened%len(c.Nodes)])
	})
	t.Run("the leader is isolated", func(t *testing.T) { leaderIsIsolated(t, c) })
	c.WaitReady(t)
	t.Run("the leader is killed during appends", func(t *testing.T) { leaderIsKilled(t, c) })
}

func onCluster(t *testing.T, c *eventstest.Cluster) *eventstore.Journal {
	t.Helper()
	conn := c.Connect(t, topology.Issuer, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	j, err := eventstore.NewJournal(conn, stream)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// INV-1: a kill of the leader loses nothing that was acknowledged, and repeats
// nothing that was not.
func leaderIsKilled(t *testing.T, c *eventstest.Cluster) {
	const writers, each = 6, 12 // fewer than the journal's depth
	type chain struct {
		place string
		acked []events.Append
		end   events.Position
	}
	chains := make([]chain, writers)
	started := make(chan struct{}, writers)
	var group sync.WaitGroup
	for i := range chains {
		chains[i].place, _ = logsuite.Place()
		j := onCluster(t, c)
		group.Go(func() {
			own := &chains[i]
			for n := range each {
				a := logsuite.Write(own.place, own.end.Sequence)
				for {
					p, err := j.Append(t.Context(), a)
					if err == nil {
						own.end, own.acked = p, append(own.acked, a)
						break
					}
					if !errors.Is(err, events.ErrUnavailable) {
						t.Errorf("writer %d, append %d: %v", i, n, err)
						return
					}
				}
				if n == 2 {
					started <- struct{}{}
				}
			}
		})
	}
	for range writers {
		<-started
	}
	leader := c.WaitLeader(t, topology.Issuer.Account(), stream)
	c.Kill(t, leader)
	group.Wait()
	c.Nodes[leader].Start(t)
	c.WaitReady(t)
	reader := onCluster(t, c)
	for i, own := range chains {
		records, err := reader.Load(t.Context(), own.end, own.place)
		if err != nil || len(records) != 1 || records[0].Position != own.end || records[0].Envelope.ID != own.acked[len(own.acked)-1].Envelope.ID {
			t.Errorf("chain %d ends with %+v, %v; want %v", i, records, err, own.end)
		}
		if n := stored(t, c.Nodes[0], own.place); n != uint64(len(own.acked)) {
			t.Errorf("chain %d: %d messages, %d were acknowledged", i, n, len(own.acked))
		}
	}
}

// An isolated leader acknowledges nothing, and what it knows is not believed by
// whoever has seen the majority go on.
func leaderIsIsolated(t *testing.T, c *eventstest.Cluster) {
	place, _ := logsuite.Place()
	first := logsuite.Write(place, 0)
	begun, err := onCluster(t, c).Append(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	old := c.WaitLeader(t, topology.Issuer.Account(), stream)
	inside := journalOn(t, c.Nodes[old])
	outside := journalOn(t, c.Nodes[(old+1)%len(c.Nodes)])
	last(t, inside, place, first.Envelope.ID)
	c.Isolate(old)

	lost := logsuite.Write(place, begun.Sequence)
	tried := appending(t, inside, lost, 4*time.Second)
	won := logsuite.Write(place, begun.Sequence)
	var at events.Position
	eventstest.Eventually(t, func(ctx context.Context) error {
		at, err = outside.Append(ctx, won)
		return err
	})
	if got := <-tried; !errors.Is(got.err, events.ErrUnavailable) {
		t.Errorf("the isolated leader answered an append: %+v", got)
	}

	// It still reads what it knows; some of the requests it hands on, in vain.
	eventstest.Eventually(t, func(ctx context.Context) error {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		records, err := inside.Load(short, events.Position{}, place)
		if err == nil && (len(records) != 1 || records[0].Position != begun) {
			t.Errorf("the isolated leader knows %+v", records)
		}
		return err
	})
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if records, err := inside.Load(short, at, place); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("a read behind %v came from the isolated leader: %+v, %v", at, records, err)
	}
	barrier := events.Append{Subject: logsuite.Realm.Barrier(), Envelope: logsuite.Event(), Unguarded: true, TTL: time.Minute}
	short, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if p, err := inside.Append(short, barrier); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("the isolated leader let a barrier pass: %v, %v", p, err)
	}

	c.Heal(old)
	if got, err := inside.Append(t.Context(), lost); !errors.Is(err, events.ErrConflict) {
		t.Errorf("the append that lost: %v, %v", got, err)
	}
	if records, err := inside.Load(t.Context(), at, place); err != nil || len(records) != 1 || records[0].Envelope.ID != won.Envelope.ID {
		t.Errorf("after healing: %+v, %v", records, err)
	}
}
