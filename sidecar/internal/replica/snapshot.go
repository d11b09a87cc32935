package replica

import (
	"time"

	"github.com/revocast/revocast/events"
)

// Load asks for a snapshot of the feed, in place of reading it from its beginning. It
// must end with one of [Machine.Loaded] and [Machine.NotLoaded].
type Load struct {
	ID    uint64
	Epoch events.Epoch
}

// Part takes in some events of a snapshot. The cursor stays where it is until all of
// it is applied and the feed was read on from there. Without effects the snapshot is
// not wanted any more.
func (m *Machine) Part(id uint64, entries []events.Revocation, others []events.Event) Effects {
	m.abandon()
	if id == 0 || id != m.load {
		return Effects{}
	}
	a := &Apply{Entries: entries, Cursor: m.cursor}
	for _, e := range others {
		m.sort(a, e)
	}
	m.open = a
	return Effects{Apply: a}
}

// Loaded says that every part of a snapshot was given, and what it stands for: all
// that the feed held up to a sequence, and nothing that it held at asOf, by the
// broker's clock, lies beyond that.
func (m *Machine) Loaded(id, sequence uint64, asOf time.Time) Effects {
	m.abandon()
	if id == 0 || id != m.load {
		return Effects{}
	}
	m.counters.Snapshots++
	m.load, m.loaded, m.loadedAsOf = 0, sequence, asOf
	m.doubt()
	return m.next()
}

// NotLoaded says that there is no snapshot, or none to be believed. The feed has it all.
func (m *Machine) NotLoaded(id uint64) Effects {
	m.abandon()
	if id == 0 || id != m.load {
		return Effects{}
	}
	m.load = 0
	return m.next()
}

// looks asks for a snapshot, once for each beginning.
func (m *Machine) looks() bool {
	if !m.config.Snapshots || m.looked || m.cursor.Sequence > 0 {
		return false
	}
	m.looked = true
	m.loads++
	m.load = m.loads
	return true
}
