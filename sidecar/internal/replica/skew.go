package replica

import "time"

// origin estimates what the broker's clock said when a clock here began to run that
// never jumps. Delivery only ever makes a heartbeat look older, so of the last few the
// one that puts the beginning latest is nearest to the truth, and one late heartbeat
// does not look like a wrong clock. The wall clock has no part in it: when that jumps,
// the very next question shows it.
type origin struct {
	last [5]time.Time
	seen int
}

func (o *origin) add(stored time.Time, elapsed time.Duration) {
	o.last[o.seen%len(o.last)] = stored.Add(-elapsed)
	o.seen++
}

// estimate is zero before the first heartbeat.
func (o *origin) estimate() time.Time {
	latest := o.last[0]
	for _, t := range o.last[1:] {
		if t.After(latest) {
			latest = t
		}
	}
	return latest
}
