package replica

import "github.com/revocast/revocast/events"

// buffer holds live messages that wait for what lies before them. All of them are
// of the epoch being followed.
type buffer struct {
	messages map[uint64]Message
	size     int
}

func (b *buffer) has(sequence uint64) bool {
	_, ok := b.messages[sequence]
	return ok
}

func (b *buffer) clear() {
	clear(b.messages)
	b.size = 0
}

func (b *buffer) put(m Message) {
	b.messages[m.Sequence] = m
	b.size += m.Size
}

// take removes the message with this sequence, if it is there.
func (b *buffer) take(sequence uint64) (Message, bool) {
	m, ok := b.messages[sequence]
	if ok {
		delete(b.messages, sequence)
		b.size -= m.Size
	}
	return m, ok
}

// discard removes every message up to last, which a batch has brought as well. It
// returns the latest heartbeat among them: arrived live, it proves what it always
// does, whichever road brought what came before it.
func (b *buffer) discard(last uint64) (beat Message, found bool) {
	for sequence, m := range b.messages {
		if sequence > last {
			continue
		}
		b.take(sequence)
		if _, is := m.Event.(events.Heartbeat); is && sequence > beat.Sequence {
			beat, found = m, true
		}
	}
	return beat, found
}
