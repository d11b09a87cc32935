package simulation

import (
	"testing"
)

// defect is one promise of the log, the feed or a clock that is broken on purpose.
type defect int

const (
	none defect = iota
	// positionsAreIgnored: a load may be older than the position asked for.
	positionsAreIgnored
	// conflictIsSuccess: an append that lost says that it won.
	conflictIsSuccess
	// readsAreReused: the read behind an append is the one before it.
	readsAreReused
	// denialsAreDropped: the feed acknowledges some announcements and forgets them.
	denialsAreDropped
	// denialsAreShort: the feed keeps announcements half as long as asked.
	denialsAreShort
	// clockIsLocal: windows are judged by the issuer's clock.
	clockIsLocal
	// expiryIsShort: the log keeps conditional appends half as long as asked.
	expiryIsShort
)

// A simulation that finds nothing is believed because it finds this.
func TestDefectsAreFound(t *testing.T) {
	keys := newKeys(t)
	for name, d := range map[string]defect{
		"loads ignore the position asked for":   positionsAreIgnored,
		"a conflict is called success":          conflictIsSuccess,
		"the read before a mint is an old one":  readsAreReused,
		"the feed forgets what it acknowledged": denialsAreDropped,
		"the feed forgets too early":            denialsAreShort,
		"windows are judged by the local clock": clockIsLocal,
		"the log forgets too early":             expiryIsShort,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(3); seed < 200; seed += 4 {
				if w := simulate(t, seed, keys, inOneHistory, usual(), d); w.violation != "" {
					t.Logf("found with seed %d in step %d: %s", seed, w.step, w.violation)
					return
				}
			}
			t.Error("never found")
		})
	}
}
