package scenario

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// deal gives how often each token of a class is asked about in n requests.
func deal(t *testing.T, d *Deck, n uint64) [classes]map[uint64]int {
	t.Helper()
	var all [classes]map[uint64]int
	for c := range all {
		all[c] = map[uint64]int{}
	}
	for k := range n {
		c, i := d.At(k)
		all[c][i]++
	}
	return all
}

// Shares and popularity are as asked for, cold tokens are asked about once, in their
// order, and one seed gives one deck.
func TestDeck(t *testing.T) {
	const requests = deckSize + deckSize/2
	d, err := NewDeck(Shares{Cold: 0.3, Revoked: 0.1, Garbage: 0.1}, 1.2, 100, 10, 4, 7)
	if err != nil {
		t.Fatal(err)
	}
	all := deal(t, d, requests)
	for class, share := range map[Class]float64{Good: 0.5, Cold: 0.3, Revoked: 0.1, Garbage: 0.1} {
		n := 0
		for _, times := range all[class] {
			n += times
		}
		if got := float64(n) / requests; math.Abs(got-share) > 0.01 {
			t.Errorf("%s: %.3f, want %.1f", class, got, share)
		}
	}
	for i := range uint64(len(all[Cold])) {
		if all[Cold][i] != 1 {
			t.Fatalf("cold token %d of %d was asked about %d times", i, len(all[Cold]), all[Cold][i])
		}
	}
	// By Zipf's law the first is asked about 2^1.2 times as often as the second.
	if ratio := float64(all[Good][0]) / float64(all[Good][1]); math.Abs(ratio-math.Pow(2, 1.2)) > 0.2 {
		t.Errorf("the first good token is asked about %.2f times as often as the second", ratio)
	}
	for class, n := range map[Class]int{Good: 100, Revoked: 10, Garbage: 4} {
		if len(all[class]) != n {
			t.Errorf("%d of %d %s tokens were asked about", len(all[class]), n, class)
		}
	}
	other, err := NewDeck(Shares{Cold: 0.3, Revoked: 0.1, Garbage: 0.1}, 1.2, 100, 10, 4, 7)
	if err != nil || !slices.Equal(d.cards, other.cards) {
		t.Errorf("one seed, two decks: %v", err)
	}
	other, err = NewDeck(Shares{Cold: 0.3, Revoked: 0.1, Garbage: 0.1}, 1.2, 100, 10, 4, 8)
	if err != nil || slices.Equal(d.cards, other.cards) {
		t.Errorf("two seeds, one deck: %v", err)
	}
}

func TestDeckWithoutPopularity(t *testing.T) {
	d, err := NewDeck(Shares{}, 0, 10, 0, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range deal(t, d, deckSize)[Good] {
		if share := 10 * float64(n) / deckSize; math.Abs(share-1) > 0.05 {
			t.Errorf("token %d: %.3f of a tenth", i, share)
		}
	}
}

// However many requests there are, there is a cold token for each that wants one, and
// none too many.
func TestColds(t *testing.T) {
	d, err := NewDeck(Shares{Cold: 0.01}, 0, 1, 0, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.Uint64Range(0, 3*deckSize).Draw(rt, "n")
		most := -1
		for k := n; k > 0 && most < 0; k-- {
			if c, i := d.At(k - 1); c == Cold {
				most = int(i)
			}
		}
		if got := d.Colds(n); got != most+1 {
			rt.Fatalf("%d for the first %d, the last is number %d", got, n, most)
		}
	})
}

func TestDeckRefuses(t *testing.T) {
	for says, c := range map[string]struct {
		s                      Shares
		zipf                   float64
		good, revoked, garbage int
	}{
		"no good ones":     {Shares{}, 0, 0, 0, 0},
		"no revoked ones":  {Shares{Revoked: 0.5}, 0, 1, 0, 0},
		"no garbage ones":  {Shares{Garbage: 0.5}, 0, 1, 0, 0},
		"more than 1, not": {Shares{}, 0.9, 10, 0, 0},
		"-1 good ones":     {Shares{}, 0, -1, 0, 0},
	} {
		if _, err := NewDeck(c.s, c.zipf, c.good, c.revoked, c.garbage, 1); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q: %v", says, err)
		}
	}
	if _, err := NewDeck(Shares{Cold: 1}, 0, 0, 0, 0, 1); err != nil {
		t.Errorf("only cold ones: %v", err)
	}
}
