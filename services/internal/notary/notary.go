// Package notary puts on record, in AUDIT, what happened and changed no state: a
// refusal, a replay, a device not seen before. It does so behind the back of the
// request that it is about, which neither waits for it nor fails with it.
//
// Invariants:
//
//   - Taking a note neither blocks nor fails, so nobody can tell from an answer, or
//     from how long it took, whether it was noted.
//   - No note is lost in silence: written, repeated, dropped and failed ones are
//     counted, and failures are logged.
//   - Whoever provokes the same note over and over fills neither AUDIT nor memory:
//     one a minute is written, and the table that knows is of fixed size.
package notary

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

const (
	// waiting is how many notes may wait to be written.
	waiting = 1024
	// seldom is how often the same note is written.
	seldom = time.Minute
	// remembered is how many notes are known again; a power of two.
	remembered = 4096
	// drainWithin bounds how long the last notes may take at the end.
	drainWithin = 2 * time.Second
)

// Outcomes of a note, as counted.
const (
	written  = "written"
	repeated = "repeated"
	dropped  = "dropped"
	failed   = "failed"
)

// Stream is where notes are put on record (package eventstore).
type Stream interface {
	Note(ctx context.Context, subject string, e events.Envelope) error
}

// Notary takes notes. It is safe for concurrent use.
type Notary struct {
	realm   subject.Realm
	stream  Stream
	log     *zap.Logger
	counted *prometheus.CounterVec
	queue   chan taken
	seed    maphash.Seed

	mu     sync.Mutex
	recent [remembered]recent
}

// taken is a note that waits to be written.
type taken struct {
	events.Note

	at time.Time
}

// recent is a note that was taken. Two that fall into one slot forget each other,
// which costs a repetition.
type recent struct {
	sum uint64
	at  time.Time
}

// New makes a notary that writes while it runs, see [Notary.Run].
func New(realm subject.Realm, stream Stream, log *zap.Logger, metrics prometheus.Registerer) (*Notary, error) {
	n := &Notary{
		realm: realm, stream: stream, log: log, queue: make(chan taken, waiting), seed: maphash.MakeSeed(),
		counted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_issuer_notes_total",
			Help: "Notes for the audit, by what they are about and what became of them: written, repeated (the same within a minute), dropped (too many at once), failed.",
		}, []string{"action", "outcome"}),
	}
	if err := metrics.Register(n.counted); err != nil {
		return nil, fmt.Errorf("registering note metrics: %w", err)
	}
	return n, nil
}

// Note takes a note, unless the same was taken less than a minute ago.
func (n *Notary) Note(note events.Note) {
	now := time.Now()
	if n.again(note, now) {
		n.count(note, repeated)
		return
	}
	select {
	case n.queue <- taken{note, now}:
	default:
		n.count(note, dropped)
	}
}

// again reports whether the note says what another has said a moment ago. What a
// request says of itself does not make it another: whoever sends it can vary that.
func (n *Notary) again(note events.Note, now time.Time) bool {
	note.DeviceID, note.DeviceName, note.Address = "", "", ""
	sum := maphash.Comparable(n.seed, note)
	n.mu.Lock()
	defer n.mu.Unlock()
	slot := &n.recent[sum%remembered]
	if slot.sum == sum && now.Sub(slot.at) < seldom {
		return true
	}
	*slot = recent{sum: sum, at: now}
	return false
}

func (n *Notary) count(note events.Note, outcome string) {
	n.counted.WithLabelValues(string(note.Action), outcome).Inc()
}

// Run writes what was noted until ctx ends, and then what is left.
func (n *Notary) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drainWithin, stop) })()
	for {
		select {
		case t := <-n.queue:
			n.write(work, t)
		case <-ctx.Done():
			for range len(n.queue) {
				n.write(work, <-n.queue)
			}
			return nil
		}
	}
}

func (n *Notary) write(ctx context.Context, t taken) {
	outcome := written
	if err := n.stream.Note(ctx, n.realm.Note(t.Issuer, t.Subject), events.Envelope{
		ID: events.EventID(uuid.Must(uuid.NewV7()).String()), At: t.at, Event: events.Noted{Note: t.Note},
	}); err != nil {
		outcome = failed
		n.log.Warn("note not on record", zap.String("action", string(t.Action)), zap.Error(err))
	}
	n.count(t.Note, outcome)
}
