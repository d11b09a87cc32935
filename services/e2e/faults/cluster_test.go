package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// pinned is how many sidecars of a cluster know one node only: the first one the first
// node, and so on.
const pinned = 2

var (
	// A server that is cut off from the other two goes on answering reads and goes on
	// talking to its clients. A sidecar that hears nobody else must grow stale, however
	// often it asks, while the other two take revocations.
	minorityIsolated = strike{name: "server isolated with its sidecar", do: func(ctx context.Context, w *world, r *rand.Rand) error {
		w.fault.Lock()
		defer w.fault.Unlock()
		i := r.IntN(pinned)
		s := w.sidecars[i]
		s.troubled.Add(1)
		defer s.troubled.Add(-1)
		s.fault.Lock()
		defer s.fault.Unlock()
		w.cluster.Isolate(i)
		defer w.cluster.Heal(i)
		at := time.Now()
		wait(ctx, staleAfter+3*time.Second)
		t := w.pick()
		if t == nil {
			return nil
		}
		switch a := w.judgeUnless(ctx, s, t); {
		case a.status == 0:
			return fmt.Errorf("%s does not answer", s.Name)
		case a.freshAsOf.After(at.Add(time.Second)):
			return fmt.Errorf("%s claims to be fresh as of %s; its server is isolated since %s", s.Name, a.freshAsOf, at)
		case s.deny && a.status == 200:
			return fmt.Errorf("%s allows by a view as of %s", s.Name, a.freshAsOf)
		}
		if status, why := s.ready(ctx); s.deny && status != 503 {
			return fmt.Errorf("%s says of its readiness %d %s", s.Name, status, why)
		}
		return nil
	}}
	serverKilled = strike{name: "server killed", do: func(ctx context.Context, w *world, r *rand.Rand) error {
		w.fault.Lock()
		defer w.fault.Unlock()
		i := r.IntN(len(w.cluster.Nodes))
		w.cluster.Kill(w.t, i)
		hold(ctx, r)
		w.cluster.Nodes[i].Start(w.t)
		return nil
	}}
	feedDeleted = strike{name: "feed deleted", alone: true, do: func(ctx context.Context, w *world, r *rand.Rand) error {
		return w.losing(ctx, func() error {
			return w.withoutIssuer(ctx, func() error {
				js, err := jetstream.New(w.cluster.Nodes[0].Superuser(w.t, topology.Issuer.Account()))
				if err != nil {
					return err
				}
				within, cancel := context.WithTimeout(ctx, patience)
				defer cancel()
				if err := js.DeleteStream(within, eventstest.Realm.FeedStream()); err != nil {
					return err
				}
				return w.restartSome(r)
			})
		})
	}}
)

// INV-1, INV-2, INV-3: three brokers.
func TestFaultsOnCluster(t *testing.T) {
	prepare(t)
	seed, rounds := seedOf(), roundsOf(1, 40)
	strikes := size([]strike{minorityIsolated}, []strike{
		minorityIsolated, serverKilled, feedDeleted, sidecarKilled, sidecarSuspended, partition, connectionsLost, storeTruncated, issuerKilled,
	})
	w := newCluster(t, program("sidecar"))
	played := w.play(seed, rounds, strikes)
	w.conclude("three brokers", seed, played)
}
