package fleet

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// deaf makes a fleet that hears what the test tells it, and nobody hears.
func deaf(t *testing.T) *Fleet {
	t.Helper()
	f, err := New(Config{Realm: "test", Lifetime: func() time.Duration { return time.Hour }},
		Deps{Log: zap.NewNop(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	f.since = time.Now().Add(-time.Hour)
	f.asked = f.since
	return f
}

func (f *Fleet) beats(t *testing.T, epoch events.Epoch, sequence uint64) {
	t.Helper()
	body, err := codec.Encode(events.Envelope{ID: events.EventID(uuid.NewString()), At: time.Now(), Event: events.Heartbeat{Epoch: epoch}})
	if err != nil {
		t.Fatal(err)
	}
	f.heartbeat(&nats.Msg{Data: body, Header: nats.Header{"Nats-Sequence": {strconv.FormatUint(sequence, 10)}}})
}

func (f *Fleet) everywhere(t *testing.T, sequence uint64) bool {
	t.Helper()
	return f.Confirm(t.Context(), sequence, 50*time.Millisecond).Everywhere()
}

// What a sidecar said of one life of the feed says nothing of another, whether that has
// another name or is an older copy put back, and whether or not its heart has beaten yet.
func TestAnotherLifeOfTheFeed(t *testing.T) {
	for how, epoch := range map[string]events.Epoch{"made anew": "f", "put back": "e"} {
		t.Run(how, func(t *testing.T) {
			f := deaf(t)
			f.beats(t, "e", 100_000)
			report := reportOf("a", "1", 100_000)
			f.take(report, time.Now())
			f.Announced(3, time.Now())
			if f.everywhere(t, 3) {
				t.Fatal("enforced, before the sidecar has said anything of it")
			}
			f.beats(t, epoch, 4)
			if f.Latest() != 4 {
				t.Errorf("the feed is at %d, want 4", f.Latest())
			}
			if f.everywhere(t, 3) {
				t.Fatal("enforced, though the sidecar has spoken only of the life before")
			}
			report.State = events.StateCatchingUp
			f.take(report, time.Now())
			if f.everywhere(t, 3) {
				t.Fatal("enforced by a sidecar that does not know yet what its position is worth")
			}
			report.State, report.Epoch, report.Sequence = events.StateFollowing, epoch, 4
			f.take(report, time.Now())
			if !f.everywhere(t, 3) {
				t.Error("not enforced, though the sidecar says so")
			}
		})
	}
}

// Who waits while the feed begins another life is not told of what happens in that.
func TestWaitAcrossLives(t *testing.T) {
	f := deaf(t)
	f.beats(t, "e", 10)
	f.take(reportOf("a", "1", 10), time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan Enforcement)
	go func() { ended <- f.Confirm(ctx, 11, time.Minute) }()
	for waits := false; !waits; {
		f.mu.Lock()
		waits = f.rounds[11] != nil
		f.mu.Unlock()
	}
	f.beats(t, "e", 5)
	f.take(reportOf("a", "1", 12), time.Now())
	cancel()
	if e := <-ended; e.Everywhere() {
		t.Errorf("what the feed has lost is said to be enforced: %+v", e)
	}
}

// However often a sidecar says that it is somebody else now, no more is remembered of
// it than one answer.
func TestNobodyIsRememberedForLong(t *testing.T) {
	f := deaf(t)
	f.beats(t, "e", 10)
	f.mu.Lock()
	r := f.open(5)
	f.mu.Unlock()
	for n := range 1000 {
		report := reportOf("a", fmt.Sprint(n), 10)
		report.Replaces = fmt.Sprint(n - 1)
		f.take(report, time.Now())
		if n%3 == 0 {
			report.State = events.StateSignedOff
			f.take(report, time.Now())
		}
	}
	if members, answers := len(f.table.members), len(r.answered); members != 0 || answers != 0 {
		t.Errorf("%d members and %d answers", members, answers)
	}
	f.take(reportOf("a", "last", 10), time.Now())
	f.table.expire(time.Now().Add(2*time.Hour), time.Hour)
	if len(r.answered) != 0 {
		t.Errorf("%d answers of whom nobody expects", len(r.answered))
	}
}
