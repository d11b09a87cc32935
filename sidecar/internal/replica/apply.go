package replica

import (
	"time"

	"github.com/revocast/revocast/events"
)

// hand gives out what a batch brought up to last, and the live messages that
// continue it.
func (m *Machine) hand(last uint64, brought []events.Event, beat Message, proves bool) Effects {
	a := &Apply{Entries: make([]events.Revocation, 0, len(brought)), Cursor: m.cursor}
	for _, e := range brought {
		m.sort(a, e)
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
	if last == m.cursor.Sequence {
		return m.next()
	}
	a.Cursor.Sequence = last
	if proves {
		// Without the monotonic reading, which stands still while a machine sleeps.
		a.Cursor.FreshAsOf = earlier(beat.Stored, beat.Arrived).Round(0)
	}
	m.open, m.proves = a, proves
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
	m.caughtUp = m.caughtUp || m.proves
	m.open, m.proves = nil, false
	m.attempts = 0
	if m.target > 0 && m.cursor.Sequence >= m.target {
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
	m.open, m.proves = nil, false
	m.attempts++
	m.counters.FailedApplies++
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
