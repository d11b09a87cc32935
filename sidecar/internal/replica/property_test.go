package replica_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// The machine against a world that loses, delays, repeats and reorders, whose
// servers lag and fail, whose stream is made anew and put back to an older copy, and a twin that
// is too simple to be wrong: a list of what the stream holds, a set of what was
// applied. INV-2: at every moment, whatever the stream held at the freshness time
// has been applied. And once messages flow, the machine gets there.
func TestFreshMeansApplied(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"":           w.check,
			"revoke":     func(*rapid.T) { w.publish(w.revocation()) },
			"announce":   func(*rapid.T) { w.publish(w.announcement()) },
			"beat":       func(*rapid.T) { w.beat() },
			"deliver":    w.deliver,
			"flow":       w.flow,
			"lose":       w.lose,
			"answer":     w.answer,
			"stale":      w.stale,
			"tick":       func(t *rapid.T) { w.pass(t); w.perform(w.machine.Tick(w.local())) },
			"connect":    func(*rapid.T) { w.connect() },
			"disconnect": func(*rapid.T) { w.disconnect() },
			"restart":    func(*rapid.T) { w.restart() },
			"expire":     w.expire,
			"recreate":   func(*rapid.T) { w.recreate() },
			"rollback":   w.rollback,
			"put back":   w.putBack,
			"named":      w.named,
			"snapshot":   w.write,
			"part":       w.part,
			"loaded":     w.allLoaded,
			"lose disk":  func(*rapid.T) { w.loseDisk() },
			"refuse":     func(t *rapid.T) { w.refusals = rapid.IntRange(1, 3).Draw(t, "refusals") },
		})
		w.calm(t)
	})
}

// entry is one message of the world's stream.
type entry struct {
	sequence uint64
	stored   time.Time
	event    events.Event
}

type world struct {
	now  time.Time     // the broker's clock
	skew time.Duration // how much ours is ahead
	ids  int

	epoch    events.Epoch
	epochs   int
	sequence uint64  // the last given
	stream   []entry // what has neither expired nor been lost

	config    replica.Config
	machine   *replica.Machine
	connected bool
	load      *replica.Load
	snapshot  snapshot
	inFlight  []entry // published live, on the way to us
	fetches   []replica.Fetch
	refusals  int

	applied map[events.RevocationID]bool
	cursor  replica.Cursor // as stored

	// written is what the disk holds. Since it was lost, the freshness has been lostAt.
	written map[events.RevocationID]bool
	lost    bool
	lostAt  time.Time
}

func newWorld(t *rapid.T) *world {
	w := &world{
		now:      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		skew:     time.Duration(rapid.IntRange(-1500, 1500).Draw(t, "skew in ms")) * time.Millisecond,
		sequence: 1000,
		applied:  map[events.RevocationID]bool{},
		written:  map[events.RevocationID]bool{},
		config: replica.Config{
			MaxMessages: rapid.IntRange(1, 6).Draw(t, "room"), MaxBytes: 500,
			Snapshots:  rapid.Bool().Draw(t, "snapshots"),
			VerifyLift: func(l events.Lift) bool { return len(l.Signature) > 0 },
			VerifyKey:  func(events.Key) bool { return true },
		},
	}
	w.newEpoch()
	w.restart()
	return w
}

func (w *world) local() time.Time { return w.now.Add(w.skew) }

// pass lets time go by, once in a while a lot of it.
func (w *world) pass(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.SampledFrom([]int{1, 10, 500, 4000}).Draw(t, "ms")) * time.Millisecond)
}

func (w *world) newEpoch() {
	w.epochs++
	w.epoch = events.Epoch(fmt.Sprint("epoch ", w.epochs))
}

func (w *world) revocation() events.Event {
	w.ids++
	return events.Revoked{Revocation: events.Revocation{ID: events.RevocationID(fmt.Sprint("r", w.ids))}}
}

// announcement is of a key; it counts as applied under the same kind of id.
func (w *world) announcement() events.Event {
	w.ids++
	return events.KeyAdded{Key: events.Key{ID: events.KeyID(fmt.Sprint("k", w.ids))}}
}

func (w *world) beat() { w.publish(events.Heartbeat{Epoch: w.epoch}) }

func (w *world) publish(e events.Event) {
	w.now = w.now.Add(time.Millisecond)
	w.sequence++
	m := entry{w.sequence, w.now, e}
	w.stream = append(w.stream, m)
	if w.connected {
		w.inFlight = append(w.inFlight, m)
	}
}

// deliver hands over a live message, mostly the next, sometimes not for the last
// time.
func (w *world) deliver(t *rapid.T) {
	if len(w.inFlight) == 0 {
		t.Skip()
	}
	i := 0
	if rapid.IntRange(0, 4).Draw(t, "out of order") == 0 {
		i = rapid.IntRange(0, len(w.inFlight)-1).Draw(t, "which")
	}
	m := w.inFlight[i]
	if rapid.IntRange(0, 4).Draw(t, "again") > 0 {
		w.inFlight = slices.Delete(w.inFlight, i, i+1)
	}
	w.live(m)
}

func (w *world) live(m entry) {
	w.perform(w.machine.Live(replica.Message{
		Sequence: m.sequence, Stored: m.stored, Arrived: w.local(), Elapsed: w.now.Sub(time.Unix(0, 0)), Size: 100, Event: m.event,
	}))
}

// flow lets everything happen that is under way.
func (w *world) flow(*rapid.T) {
	for range 3 {
		w.publish(w.revocation())
	}
	w.beat()
	w.deliverAll()
}

func (w *world) deliverAll() {
	for _, m := range w.inFlight {
		w.live(m)
		w.answerAll()
	}
	w.inFlight = nil
}

func (w *world) lose(t *rapid.T) {
	if len(w.inFlight) == 0 {
		t.Skip()
	}
	i := rapid.IntRange(0, len(w.inFlight)-1).Draw(t, "which")
	w.inFlight = slices.Delete(w.inFlight, i, i+1)
}

// answer ends the latest fetch: by a server that may lag and may stop early, or
// not at all.
func (w *world) answer(t *rapid.T) {
	if len(w.fetches) == 0 {
		t.Skip()
	}
	f := w.fetches[len(w.fetches)-1]
	if rapid.IntRange(0, 5).Draw(t, "fails") == 0 {
		w.perform(w.machine.Failed(f.ID))
		return
	}
	behind := 0
	if rapid.Bool().Draw(t, "lags") {
		behind = rapid.IntRange(0, len(w.stream)).Draw(t, "behind")
	}
	w.batch(f, len(w.stream)-behind, rapid.IntRange(1, 20).Draw(t, "at most"))
}

// batch answers f from the first so many messages of the stream.
func (w *world) batch(f replica.Fetch, visible, atMost int) {
	b := replica.Batch{ID: f.ID}
	from := f.From
	if !f.Since.IsZero() {
		young := slices.IndexFunc(w.stream[:visible], func(m entry) bool { return !m.stored.Before(f.Since) })
		if young < 0 {
			w.perform(w.machine.Nothing(f.ID))
			return
		}
		from = min(from, w.stream[young].sequence)
	}
	for _, m := range w.stream[:visible] {
		if m.sequence >= from && len(b.Events) < atMost {
			b.Last = m.sequence
			b.Events = append(b.Events, m.event)
		}
	}
	if len(b.Events) == 0 {
		w.perform(w.machine.Nothing(f.ID))
		return
	}
	w.perform(w.machine.Fetched(b, w.local()))
}

// stale answers a fetch that is no longer the latest, with anything at all.
func (w *world) stale(t *rapid.T) {
	if len(w.fetches) < 2 {
		t.Skip()
	}
	i := rapid.IntRange(0, len(w.fetches)-2).Draw(t, "which")
	w.perform(w.machine.Fetched(replica.Batch{ID: w.fetches[i].ID, Last: w.sequence + 100}, w.local()))
}

func (w *world) connect() {
	w.connected = true
	w.perform(w.machine.Connected(w.local()))
}

// disconnect leaves what is in flight: it may have arrived, unread.
func (w *world) disconnect() {
	w.connected = false
	w.machine.Disconnected()
}

// restart is a kill: only what was stored is left.
func (w *world) restart() {
	w.connected, w.inFlight, w.fetches, w.load = false, nil, nil, nil
	w.machine = replica.New(w.config, w.cursor)
	w.applied, w.lost = maps.Clone(w.written), false
}

func (w *world) expire(t *rapid.T) {
	if len(w.stream) == 0 {
		t.Skip()
	}
	i := rapid.IntRange(0, len(w.stream)-1).Draw(t, "which")
	w.stream = slices.Delete(w.stream, i, i+1)
}

// recreate makes the stream anew. Sequences begin at the clock, so they go on.
func (w *world) recreate() {
	w.newEpoch()
	w.stream = nil
	w.sequence += 1000
}

// rollback is a server that comes back without its last messages, which a sidecar
// sees at once.
func (w *world) rollback(t *rapid.T) {
	w.putBack(t)
	w.connect()
	w.beat()
	w.deliverAll()
}

// putBack is a broker whose directory is replaced by an older copy of itself. It is
// up again, and further than it was, before the sidecar looks or even starts.
func (w *world) putBack(t *rapid.T) {
	if len(w.stream) == 0 {
		t.Skip()
	}
	if rapid.Bool().Draw(t, "sidecar is down") {
		w.restart()
	} else {
		w.disconnect()
		w.inFlight = nil
	}
	w.refusals = 0
	kept := rapid.IntRange(0, len(w.stream)-1).Draw(t, "kept")
	w.sequence = w.stream[kept].sequence - 1
	w.stream = w.stream[:kept]
	for range rapid.IntRange(0, 12).Draw(t, "further") {
		w.publish(w.revocation())
	}
	if rapid.Bool().Draw(t, "beats") {
		w.beat()
	}
}

// perform is the denylist and its disk.
func (w *world) perform(e replica.Effects) {
	for e.Apply != nil {
		if w.refusals > 0 {
			w.refusals--
			if w.refusals == 0 {
				return // and say nothing about it
			}
			e = w.machine.NotApplied()
			continue
		}
		for _, r := range e.Apply.Entries {
			w.applied[r.ID], w.written[r.ID] = true, true
		}
		for _, k := range e.Apply.Keys {
			w.applied[events.RevocationID(k.ID)], w.written[events.RevocationID(k.ID)] = true, true
		}
		w.cursor = e.Apply.Cursor
		if w.lost = w.lost && w.cursor.FreshAsOf.Equal(w.lostAt); w.lost {
			w.cursor.FreshAsOf = time.Time{} // of memory alone
		}
		e = w.machine.Applied()
	}
	if e.Fetch != nil {
		w.fetches = append(w.fetches, *e.Fetch)
	}
	if e.Load != nil {
		w.load = e.Load
	}
}

// check is INV-2, as seen from outside.
func (w *world) check(t *rapid.T) {
	st := w.machine.State()
	if st.FreshAsOf.After(w.now) || st.FreshAsOf.After(w.local()) {
		t.Fatalf("fresh as of %v, which is yet to come", st.FreshAsOf)
	}
	if st.CaughtUp && st.FreshAsOf.IsZero() {
		t.Fatal("caught up, and never fresh")
	}
	for _, m := range w.stream {
		var id events.RevocationID
		switch e := m.event.(type) {
		case events.Revoked:
			id = e.Revocation.ID
		case events.KeyAdded:
			id = events.RevocationID(e.Key.ID)
		}
		if id != "" && !m.stored.After(st.FreshAsOf) && !w.applied[id] {
			t.Fatalf("fresh as of %v, but %s, stored at %v with number %d, was not applied: %+v",
				st.FreshAsOf, id, m.stored, m.sequence, st)
		}
		if id != "" && !w.lost && !m.stored.After(st.FreshAsOf) && !w.written[id] {
			t.Fatalf("proved since the disk was lost, as of %v, but %s, stored at %v with number %d, has not come again: %+v",
				st.FreshAsOf, id, m.stored, m.sequence, st)
		}
	}
}

// calm lets everything flow. A few heartbeats later all is well.
func (w *world) calm(t *rapid.T) {
	w.refusals = 0
	w.connect()
	for range 20 {
		w.now = w.now.Add(time.Second)
		w.beat()
		w.deliverAll()
		w.perform(w.machine.Tick(w.local()))
		w.answerAll()
		w.check(t)
	}
	last := w.stream[len(w.stream)-1]
	st := w.machine.State()
	want := last.stored
	if w.local().Before(want) {
		want = w.local()
	}
	if st.Phase != replica.Following || st.Epoch != w.epoch || st.Sequence != last.sequence || !st.FreshAsOf.Equal(want) {
		t.Fatalf("did not get there: %+v, the stream ends with %+v of %s", st, last, w.epoch)
	}
	if skew := st.Skew(w.local(), w.now.Sub(time.Unix(0, 0))); skew != w.skew {
		t.Fatalf("skew is %v, estimated %v", w.skew, skew)
	}
}

// answerAll answers until nothing more is asked.
func (w *world) answerAll() {
	for len(w.fetches) > 0 || w.load != nil {
		if w.load != nil {
			w.finishLoad(false)
			continue
		}
		f := w.fetches[len(w.fetches)-1]
		w.fetches = nil
		w.batch(f, len(w.stream), 7)
	}
}
