package replica

import (
	"time"

	"github.com/revocast/revocast/events"
)

// Config is what a machine needs to know. Zero fields take their defaults.
type Config struct {
	// MaxMessages and MaxBytes bound the live messages held back while a hole is
	// read: 10,000 messages and 8 MiB by default.
	MaxMessages, MaxBytes int
	// Silence is how long no live message may come before the stream is asked
	// whether there is something: 3 s by default, three heartbeats.
	Silence time.Duration
	// VerifyLift says whether a lift bears the realm root's signature. Without it
	// none does.
	VerifyLift func(events.Lift) bool
	// VerifyKey and VerifyRetirement say the same of a signing key that is announced
	// or withdrawn. A retirement denies, but it is remembered and cannot be lifted.
	VerifyKey, VerifyRetirement func(events.Key) bool
}

// Machine is the state of following one feed. It is not safe for concurrent use;
// [Machine.State] returns a copy that is.
type Machine struct {
	config   Config
	counters Counters

	// What has been applied and, open, what is being applied.
	cursor   Cursor
	caughtUp bool
	open     *Apply
	proves   bool // the open one ends with a heartbeat that proves it

	connected bool
	// searching: the end of the stream has not been met since the last doubt.
	searching bool
	// joined: a live message has continued what is applied since then.
	joined bool
	// heard is when the last live message arrived, or silence was last acted on.
	heard time.Time

	// target is the highest live sequence of this connection, waiting the live
	// messages beyond the cursor.
	target  uint64
	waiting buffer
	skew    skew
	// newest is the heartbeat of the highest sequence in this epoch.
	newest struct {
		sequence uint64
		stored   time.Time
	}
	// overtaken is until when live messages behind the cursor are merely late.
	overtaken time.Time

	// asked is the fetch whose answer is awaited, zero for none.
	asked, fetches uint64
	// attempts counts fetches in a row that brought nothing.
	attempts int
}

// New returns a machine, offline, that continues from a stored cursor; the zero
// Cursor begins a new life. A sequence without its epoch is not trusted.
func New(config Config, cursor Cursor) *Machine {
	if config.MaxMessages <= 0 {
		config.MaxMessages = 10_000
	}
	if config.MaxBytes <= 0 {
		config.MaxBytes = 8 << 20
	}
	if config.Silence <= 0 {
		config.Silence = 3 * time.Second
	}
	if cursor.Epoch == "" {
		cursor = Cursor{}
	}
	return &Machine{config: config, cursor: cursor, waiting: buffer{messages: map[uint64]Message{}}}
}

// State says what may be claimed now.
func (m *Machine) State() State {
	return State{
		Phase: m.phase(), Cursor: m.cursor, Target: max(m.target, m.cursor.Sequence),
		CaughtUp: m.caughtUp, Skew: m.skew.estimate(), Counters: m.counters,
	}
}

func (m *Machine) phase() Phase {
	switch {
	case !m.connected:
		return Offline
	case !m.joined:
		return CatchUp
	case m.cursor.Sequence < m.target:
		return Repair
	}
	return Following
}

// Connected says that the subscription is in place, for the first time or again.
// Whatever was published in between has to be read from the stream.
func (m *Machine) Connected(now time.Time) Effects {
	m.abandon()
	m.disconnect()
	m.connected, m.searching = true, true
	m.heard = now
	return m.next()
}

// Disconnected says that the connection is gone, and with it any answer awaited.
func (m *Machine) Disconnected() {
	m.abandon()
	m.disconnect()
}

func (m *Machine) disconnect() {
	m.connected, m.searching, m.joined = false, false, false
	m.target, m.asked, m.attempts = 0, 0, 0
	m.waiting.clear()
	m.overtaken = time.Time{}
}

// Live takes in one message of the republished feed.
func (m *Machine) Live(l Message) Effects {
	m.abandon()
	if !m.connected {
		return Effects{} // Connected, which must follow, asks for it
	}
	m.heard = l.Arrived
	if beat, is := l.Event.(events.Heartbeat); is {
		m.skew.add(l.Arrived.Sub(l.Stored))
		if beat.Epoch != m.cursor.Epoch || m.rolledBack(l) {
			return m.resync(beat.Epoch, l)
		}
		if l.Sequence > m.newest.sequence {
			m.newest.sequence, m.newest.stored = l.Sequence, l.Stored
		}
	}
	switch {
	case m.cursor.Epoch == "":
		// No heartbeat has named the epoch yet. The one that does lies beyond this
		// message, and what lies before it will be fetched.
		return Effects{}
	case l.Sequence <= m.cursor.Sequence, m.waiting.has(l.Sequence):
		m.counters.Duplicates++
		return m.next()
	}
	if m.joined && m.cursor.Sequence >= m.target && l.Sequence > m.cursor.Sequence+1 {
		m.counters.Repairs++
	}
	m.target = max(m.target, l.Sequence)
	m.hold(l)
	return m.hand(m.cursor.Sequence, nil, Message{}, false)
}

// rolledBack reports whether a heartbeat of our epoch shows that the stream has
// lost messages which are applied here.
func (m *Machine) rolledBack(l Message) bool {
	if l.Sequence > m.cursor.Sequence {
		return false
	}
	if l.Sequence <= m.newest.sequence {
		// The same or an older message delivered again, unless it is a younger one
		// with an older number.
		return l.Stored.After(m.newest.stored)
	}
	return l.Arrived.After(m.overtaken)
}

// resync follows the stream from its beginning. What is in the denylist stays and
// goes on denying, and the freshness time stays what it was.
func (m *Machine) resync(epoch events.Epoch, beat Message) Effects {
	if m.cursor.Epoch != "" {
		m.counters.Resyncs++
	}
	m.disconnect()
	m.connected, m.searching = true, true
	m.cursor.Epoch, m.cursor.Sequence = epoch, 0
	m.newest.sequence, m.newest.stored = beat.Sequence, beat.Stored
	m.target = beat.Sequence
	m.waiting.put(beat)
	// Written down at once: otherwise a restart in the midst of it would go on
	// from the old cursor, which the stream may have passed by then.
	m.open = &Apply{Cursor: m.cursor}
	return Effects{Apply: m.open}
}

// hold keeps a live message until what lies before it is applied. If there is no
// room, everything held is let go: the stream has it.
func (m *Machine) hold(l Message) {
	if len(m.waiting.messages) >= m.config.MaxMessages || m.waiting.size+l.Size > m.config.MaxBytes {
		m.waiting.clear()
		m.counters.Overflows++
	}
	if l.Size <= m.config.MaxBytes {
		m.waiting.put(l)
	}
}

// Tick tells the time, about once a second.
func (m *Machine) Tick(now time.Time) Effects {
	m.abandon()
	if m.connected && now.Sub(m.heard) >= m.config.Silence {
		m.heard = now
		m.searching, m.joined = true, false
		if m.target <= m.cursor.Sequence {
			m.target = 0 // only the next live message shows where the stream is
		}
	}
	return m.next()
}
