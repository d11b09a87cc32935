package replica

import "time"

// skew estimates by how much the local clock is ahead of the broker's. Delivery
// only ever adds to what a heartbeat shows, so the smallest of the last few is
// nearest to the truth, and one late heartbeat does not look like a wrong clock.
type skew struct {
	last [5]time.Duration
	seen int
}

func (s *skew) add(ahead time.Duration) {
	s.last[s.seen%len(s.last)] = ahead
	s.seen++
}

func (s *skew) estimate() time.Duration {
	if s.seen == 0 {
		return 0
	}
	least := s.last[0]
	for _, d := range s.last[1:min(s.seen, len(s.last))] {
		least = min(least, d)
	}
	return least
}
