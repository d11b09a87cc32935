package replica

// Restart follows the feed from its beginning, though it is the same: the caller has
// lost what it had written down. What is in the denylist stays and goes on denying,
// and the freshness time stays what it was until a heartbeat proves the next one.
func (m *Machine) Restart() Effects {
	m.abandon()
	if m.cursor.Epoch == "" {
		return m.next() // it will begin there
	}
	m.counters.Resyncs++
	m.joined, m.searching = false, m.connected
	m.asked, m.attempts = 0, 0
	m.begin()
	// Written down at once, like that of a new epoch: what is written from here on
	// begins with nothing.
	m.open = &Apply{Cursor: m.cursor, Begins: true}
	return Effects{Apply: m.open}
}
