package replica_test

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
)

// snapshot is what somebody wrote down of the stream.
type snapshot struct {
	epoch    events.Epoch
	sequence uint64
	asOf     time.Time
	events   []events.Event
}

// write makes a snapshot of the stream as it is.
func (w *world) write(t *rapid.T) {
	if len(w.stream) == 0 {
		t.Skip()
	}
	last := w.stream[len(w.stream)-1]
	w.snapshot = snapshot{epoch: w.epoch, sequence: last.sequence, asOf: last.stored}
	for _, m := range w.stream {
		w.snapshot.events = append(w.snapshot.events, m.event)
	}
}

// named reads the last heartbeat there is.
func (w *world) named(t *rapid.T) {
	for _, m := range slices.Backward(w.stream) {
		if beat, is := m.event.(events.Heartbeat); is {
			w.perform(w.machine.Named(beat.Epoch, m.stored))
			return
		}
	}
	t.Skip()
}

// part gives some of a snapshot, of whichever epoch: what it holds was true once.
func (w *world) part(t *rapid.T) {
	if w.load == nil {
		t.Skip()
	}
	n := rapid.IntRange(0, len(w.snapshot.events)).Draw(t, "events")
	w.perform(w.machine.Part(w.load.ID, nil, w.snapshot.events[:n]))
}

// allLoaded ends what was asked for: with all of a snapshot, if it is of that epoch.
func (w *world) allLoaded(t *rapid.T) {
	if w.load == nil {
		t.Skip()
	}
	w.finishLoad(rapid.Bool().Draw(t, "damaged"))
}

func (w *world) finishLoad(damaged bool) {
	l := w.load
	w.load = nil
	if damaged || w.snapshot.epoch != l.Epoch {
		w.perform(w.machine.NotLoaded(l.ID))
		return
	}
	w.perform(w.machine.Part(l.ID, nil, w.snapshot.events))
	w.perform(w.machine.Loaded(l.ID, w.snapshot.sequence, w.snapshot.asOf))
}
