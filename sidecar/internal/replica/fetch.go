package replica

import "time"

const (
	// lateness is how long after a batch live messages that it has overtaken may
	// still come in. After that, a heartbeat behind the cursor means a rollback.
	lateness = 5 * time.Second

	// A fetch that brought nothing new is repeated, ever more slowly.
	firstDelay = 50 * time.Millisecond
	lastDelay  = 2 * time.Second
)

// Fetched takes in the answer to a fetch.
func (m *Machine) Fetched(b Batch, now time.Time) Effects {
	m.abandon()
	if !m.awaited(b.ID) {
		return Effects{}
	}
	if b.Last < m.from() && (!m.unsure || m.read > 0) {
		return m.again()
	}
	m.overtaken = now.Add(lateness)
	beat, proved := m.waiting.discard(b.Last)
	return m.hand(b.Last, &b, beat, proved)
}

// Nothing says that the server which answered has nothing at or beyond the fetch.
// It may lag, so this is no proof of anything.
func (m *Machine) Nothing(id uint64) Effects {
	m.abandon()
	if !m.awaited(id) {
		return Effects{}
	}
	m.searching = false
	return m.again()
}

// Failed says that a fetch ended without an answer, or with half of one.
func (m *Machine) Failed(id uint64) Effects {
	m.abandon()
	if !m.awaited(id) {
		return Effects{}
	}
	m.counters.FailedFetches++
	return m.again()
}

func (m *Machine) awaited(id uint64) bool {
	if id == 0 || id != m.asked {
		return false
	}
	m.asked = 0
	return true
}

// again is next after a fetch that brought nothing.
func (m *Machine) again() Effects {
	if m.wanted() {
		m.attempts++
	}
	return m.next()
}

// next asks for a batch if one is wanted and none is awaited.
func (m *Machine) next() Effects {
	if !m.wanted() || m.asked != 0 || m.load != 0 {
		return Effects{}
	}
	if m.looks() {
		return Effects{Load: &Load{ID: m.load, Epoch: m.cursor.Epoch}}
	}
	m.fetches++
	m.asked = m.fetches
	f := &Fetch{ID: m.asked, From: m.from(), After: delay(m.attempts)}
	if m.unsure && m.read == 0 {
		f.Since = m.since
	}
	return Effects{Fetch: f}
}

// from is the number of the message to be read next.
func (m *Machine) from() uint64 {
	if m.unsure && m.read > 0 {
		return m.read + 1
	}
	if m.cursor.Sequence == 0 {
		return m.loaded + 1
	}
	return m.cursor.Sequence + 1
}

func (m *Machine) wanted() bool {
	return m.connected && m.cursor.Epoch != "" && (m.searching || m.cursor.Sequence < m.target)
}

// delay is how long to wait after so many fetches that brought nothing.
func delay(attempts int) time.Duration {
	if attempts == 0 {
		return 0
	}
	const doublings = 6 // beyond which lastDelay is reached
	return min(firstDelay<<min(attempts-1, doublings), lastDelay)
}
