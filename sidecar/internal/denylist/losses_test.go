package denylist_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
)

// Whatever is lost and whenever the process dies: a token that an applied entry
// denies never passes, one that none denies is never denied, what the disk claims it
// holds, and in the end everything is exact again.
func TestLossesAndCrashes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const sessions = 12
		now := denylisttest.Now()
		store := &losing{Store: memstore.New()}
		var d *denylist.Denylist
		head, at := 0, 0 // of the feed, and how far it is followed
		loaded := 0      // how far a snapshot that is being loaded has come
		fresh := time.Time{}
		applied := map[int]bool{} // in this life, or claimed by a fresh disk
		look := func() {
			for n := 1; n <= sessions; n++ {
				f, err := d.Lookup(t.Context(), tokenOf(d, fmt.Sprint(n)), now)
				if applied[n] && err == nil && !f.Denied {
					rt.Fatalf("session %d of %d passes", n, head)
				}
				if f.Denied && n > head {
					rt.Fatalf("session %d of %d is denied", n, head)
				}
			}
		}
		begin := func() {
			var err error
			if d, err = denylist.New(denylist.Config{Confirmed: 1}, store); err != nil {
				rt.Fatal(err)
			}
			c := d.Status().Cursor
			if at, fresh = int(c.Sequence), c.FreshAsOf; fresh.IsZero() {
				at = 0
			}
			loaded = 0
			clear(applied)
			for n := 1; n <= at; n++ {
				applied[n] = true
			}
		}
		give := func(n int) {
			b := feedAt(n, fresh)
			if n == 0 {
				loaded = 0
			}
			if err := d.Apply(b); err != nil {
				rt.Fatal(err)
			}
			applied[n] = n > 0
			at = n
		}
		heed := func() { // as the syncer does
			select {
			case <-d.Lost():
				give(0)
			default:
			}
		}
		begin()
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { look() },
			"revoke": func(*rapid.T) {
				head = min(head+1, sessions)
			},
			"heed": func(*rapid.T) { heed() },
			"part": func(*rapid.T) {
				if at == 0 && loaded < head {
					loaded++
					b := feedAt(loaded, fresh)
					b.Cursor.Sequence = 0
					if err := d.Apply(b); err != nil {
						rt.Fatal(err)
					}
					applied[loaded] = true
				}
			},
			"loaded": func(*rapid.T) { at = max(at, loaded) },
			"follow": func(*rapid.T) {
				if at < head {
					give(at + 1)
				}
			},
			"prove": func(*rapid.T) {
				if at < head {
					return
				}
				fresh = maxTime(fresh, now).Add(time.Second)
				b := feedAt(0, fresh)
				b.Cursor.Sequence, b.Begins = uint64(at), false
				if at > 0 {
					if err := d.Apply(b); err != nil {
						rt.Fatal(err)
					}
				}
			},
			"write": func(*rapid.T) { _ = d.Flush() }, // it may be lost
			"fill":  func(*rapid.T) { d.Fill(t.Context()) },
			"lose":  func(rt *rapid.T) { store.lose(rapid.Bool().Draw(rt, "unusable")) },
			"mend":  func(*rapid.T) { store.mend() },
			"crash": func(*rapid.T) { begin() },
		})
		store.mend()
		for range 3 { // a loss that nobody has noticed yet, and its consequences
			_ = d.Flush()
			d.Fill(t.Context())
			look()
			heed()
			for at < head {
				give(at + 1)
			}
			fresh = maxTime(fresh, now).Add(time.Second)
			b := denylist.Batch{Cursor: denylist.Cursor{Epoch: "e", Sequence: uint64(at), FreshAsOf: fresh}}
			if err := d.Apply(b); err != nil {
				rt.Fatal(err)
			}
		}
		for n := 1; n <= sessions; n++ {
			if f, err := d.Lookup(t.Context(), tokenOf(d, fmt.Sprint(n)), now); err != nil || f.Denied != (n <= head) {
				rt.Fatalf("in the end session %d of %d: %+v, %v", n, head, f, err)
			}
		}
	})
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
