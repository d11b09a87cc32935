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
	// Snapshots says that a feed which is read from its beginning may be begun with a
	// snapshot.
	Snapshots bool
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
	proves   bool   // the open one ends with a heartbeat that proves it
	reads    uint64 // the open one reads the stream up to here

	connected bool
	// searching: the end of the stream has not been met since the last doubt.
	searching bool
	// joined: a live message has continued what is applied since then.
	joined bool
	// unsure: since the last doubt nothing has been read yet that reaches beyond what
	// is applied. Until then live messages wait, whatever their numbers: the stream
	// may have been put back to an older copy and have come this far again. What it
	// took in since then is younger than since; read is how far it was read again.
	unsure bool
	since  time.Time
	read   uint64
	// sure: what the feed held then, by the broker's time, is applied or lies beyond
	// the cursor.
	sure time.Time
	// heard is when the last live message arrived, or silence was last acted on.
	heard time.Time

	// target is the highest live sequence of this connection, waiting the live
	// messages beyond the cursor.
	target  uint64
	waiting buffer
	origin  origin
	// newest are the highest sequence and the latest time of live messages in this
	// epoch.
	newest struct {
		sequence uint64
		stored   time.Time
	}
	// load is the snapshot that is awaited, zero for none; looked says that there was
	// one, or none, since the feed was begun. What was loaded stands for the feed up to
	// there while the cursor is at its beginning.
	load, loads uint64
	looked      bool
	loaded      uint64
	loadedAsOf  time.Time
	// overtaken is until when live messages behind the cursor are merely late.
	overtaken time.Time

	// asked is the fetch whose answer is awaited, zero for none.
	asked, fetches uint64
	// attempts counts fetches in a row that brought nothing.
	attempts int
}

// New returns a machine, offline, that continues from a stored cursor; the zero
// Cursor begins a new life. A sequence without its epoch is not trusted, nor one
// without a proof: both begin with the first message.
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
	if cursor.Epoch == "" || cursor.FreshAsOf.IsZero() {
		cursor = Cursor{} // nobody can say any more of what it is the end
	}
	return &Machine{config: config, cursor: cursor, sure: cursor.FreshAsOf, waiting: buffer{messages: map[uint64]Message{}}}
}

// State says what may be claimed now.
func (m *Machine) State() State {
	return State{
		Phase: m.phase(), Cursor: m.cursor, Target: max(m.target, m.cursor.Sequence),
		CaughtUp: m.caughtUp, Origin: m.origin.estimate(), Counters: m.counters,
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
	m.doubt()
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
	if m.load > 0 {
		m.load, m.looked = 0, false // its broker is gone
	}
	m.waiting.clear()
	m.overtaken = time.Time{}
}

// doubt makes the machine read again whatever may have come behind its back.
func (m *Machine) doubt() {
	if !m.unsure || m.read > 0 {
		m.asked = 0 // asked for too little
	}
	m.unsure, m.read, m.since = true, 0, m.sure
	if m.cursor.Sequence == 0 {
		m.since = m.loadedAsOf
	}
}

// begin goes back to the beginning of the feed.
func (m *Machine) begin() {
	m.cursor.Sequence = 0
	m.load, m.looked, m.loaded, m.loadedAsOf = 0, false, 0, time.Time{}
	m.doubt()
}

// Live takes in one message of the republished feed.
func (m *Machine) Live(l Message) Effects {
	m.abandon()
	if !m.connected {
		return Effects{} // Connected, which must follow, asks for it
	}
	m.heard = l.Arrived
	epoch := m.cursor.Epoch
	if beat, is := l.Event.(events.Heartbeat); is {
		m.origin.add(l.Stored, l.Elapsed)
		epoch = beat.Epoch
	}
	switch {
	case epoch == "":
		// No heartbeat has named the epoch yet. The one that does lies beyond this
		// message, and what lies before it will be fetched.
		return Effects{}
	case epoch != m.cursor.Epoch, m.rolledBack(l):
		return m.resync(epoch, l)
	}
	hole := l.Sequence > max(m.cursor.Sequence, m.newest.sequence)+1
	m.newest.sequence = max(m.newest.sequence, l.Sequence)
	if l.Stored.After(m.newest.stored) {
		m.newest.stored = l.Stored
	}
	if l.Sequence <= m.cursor.Sequence || m.waiting.has(l.Sequence) {
		m.counters.Duplicates++
		return m.next()
	}
	if hole && !m.unsure {
		m.counters.Repairs++
		m.doubt()
	}
	m.target = max(m.target, l.Sequence)
	m.hold(l)
	if !m.unsure {
		return m.hand(m.cursor.Sequence, nil, Message{}, false)
	}
	if l.Stored.Before(m.since) {
		m.since = l.Stored // the broker's clock was set back
	}
	return m.next()
}

// rolledBack reports whether a message shows that the stream has lost messages
// which are applied here.
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

// Named tells of a heartbeat that was read, not heard, and when it was stored. It proves
// nothing. But who does not know the epoch yet need not wait for the next one to begin.
func (m *Machine) Named(epoch events.Epoch, stored time.Time) Effects {
	m.abandon()
	if !m.connected || m.cursor.Epoch != "" || epoch == "" {
		return m.next()
	}
	m.cursor.Epoch, m.sure = epoch, stored
	m.begin()
	m.open = &Apply{Cursor: m.cursor, Begins: true}
	return Effects{Apply: m.open}
}

// resync follows the stream from its beginning. What is in the denylist stays and
// goes on denying, and the freshness time stays what it was.
func (m *Machine) resync(epoch events.Epoch, l Message) Effects {
	if m.cursor.Epoch != "" {
		m.counters.Resyncs++
	}
	m.disconnect()
	m.connected, m.searching = true, true
	m.cursor.Epoch = epoch
	m.newest.sequence, m.newest.stored = l.Sequence, l.Stored
	m.sure = l.Stored
	m.begin()
	m.target = l.Sequence
	m.waiting.put(l)
	// Written down at once: otherwise a restart in the midst of it would go on
	// from the old cursor, which the stream may have passed by then.
	m.open = &Apply{Cursor: m.cursor, Begins: true}
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
		m.doubt()
		if m.target <= m.cursor.Sequence {
			m.target = 0 // only the next live message shows where the stream is
		}
	}
	return m.next()
}
