package replica

import (
	"time"

	"github.com/revocast/revocast/events"
)

// hand gives out what a batch brought up to last, and the live messages that
// continue it.
func (m *Machine) hand(last uint64, brought *Batch, beat Message, proves bool) Effects {
	a := &Apply{Cursor: m.cursor}
	if brought != nil {
		a.Entries = brought.Entries
		for _, e := range brought.Events {
			m.sort(a, e)
		}
	}
	for {
		l, ok := m.waiting.take(last + 1)
		if !ok {
			break
		}
		last++
		m.sort(a, l.Event)
		if _, is := l.Event.(events.Heartbeat); is {
			beat, proves = l, true
		}
	}
	if last == m.cursor.Sequence && brought == nil {
		return m.next()
	}
	a.Cursor.Sequence = max(last, m.cursor.Sequence)
	if proves {
		// Without the monotonic reading, which stands still while a machine sleeps.
		a.Cursor.FreshAsOf = earlier(beat.Stored, beat.Arrived).Round(0)
	}
	m.open, m.proves, m.reads = a, proves, last
	return Effects{Apply: a}
}

// sort puts one event where it belongs. All kinds are named, so that a new one
// makes someone decide what it means to a sidecar.
func (m *Machine) sort(a *Apply, e events.Event) {
	switch e := e.(type) {
	case events.Revoked:
		a.Entries = append(a.Entries, e.Revocation)
	case events.Lifted:
		if m.config.VerifyLift == nil || !m.config.VerifyLift(e.Lift) {
			m.counters.Unsigned++
			return
		}
		a.Lifts = append(a.Lifts, e.Lift)
	case events.KeyAdded:
		if m.config.VerifyKey == nil || !m.config.VerifyKey(e.Key) {
			m.counters.Unsigned++
			return
		}
		a.Keys = append(a.Keys, e.Key)
	case events.KeyRetired:
		if m.config.VerifyRetirement == nil || !m.config.VerifyRetirement(e.Key) {
			m.counters.Unsigned++
			return
		}
		a.Retired = append(a.Retired, e.Key)
	case events.Heartbeat:
	case events.SessionStarted, events.SessionRefreshed, events.SessionRevoked, events.CutsRecorded,
		events.UserRegistered, events.PasswordChanged, events.UserUpdated, events.ClientUpdated,
		events.OperatorAdded, events.OperatorRemoved, events.SecretSealed, events.LifetimesDeclared,
		events.SessionReplayed, events.BarrierPassed, // of the journal
		events.Noted: // of the audit
		m.counters.Ignored++
	case events.Unknown:
		m.counters.Unknown++
	case nil:
		m.counters.Malformed++
	}
}

// Applied says that the open Apply is in the denylist and denies.
func (m *Machine) Applied() Effects {
	if m.open == nil {
		return Effects{}
	}
	m.cursor = m.open.Cursor
	if m.proves {
		m.caughtUp, m.sure = true, m.cursor.FreshAsOf
	}
	if m.unsure && m.reads > 0 {
		m.read = m.reads
		m.unsure = m.read < m.cursor.Sequence
	}
	m.settle()
	m.attempts = 0
	if m.target > 0 && m.cursor.Sequence >= m.target && !m.unsure {
		m.joined, m.searching = true, false
	}
	return m.next()
}

// NotApplied says that the denylist refused the open Apply. It will be read again.
func (m *Machine) NotApplied() Effects {
	m.abandon()
	return m.next()
}

// abandon forgets an Apply whose success nobody has confirmed.
func (m *Machine) abandon() {
	if m.open == nil {
		return
	}
	m.settle()
	m.load = 0 // if it was of a snapshot, the feed has it as well
	m.attempts++
	m.counters.FailedApplies++
}

func (m *Machine) settle() { m.open, m.proves, m.reads = nil, false, 0 }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
