package scenario

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Class is what is known of a token before it is asked about.
type Class int

// Classes.
const (
	// Good tokens pass, and are asked about again and again.
	Good Class = iota
	// Cold ones pass and are asked about once: nobody has seen them before.
	Cold
	// Revoked ones were, before the load.
	Revoked
	// Garbage never was a good token.
	Garbage

	classes
)

// String is what a column or a message calls it.
func (c Class) String() string {
	return [classes]string{"good", "cold", "revoked", "garbage"}[c]
}

// Shares are how many of all requests are about tokens of a class, from 0 to 1; the rest
// is about good ones.
type Shares struct{ Cold, Revoked, Garbage float64 }

// Deck says which request is about which token. It is drawn once, before the load, since
// some drawing takes longer than some asking. It does not change and is safe for
// concurrent use.
type Deck struct {
	cards []card
	cold  uint64 // how many cards are
}

// card stands for a token of a class: the index-th one of it, or of all cold ones on the
// deck.
type card struct {
	class Class
	index uint64
}

// deckSize is how many cards there are. What the first requests show is shown again by
// those after them, which is long enough not to matter; cold tokens are other ones each
// time.
const deckSize = 1 << 17

// NewDeck draws by the shares, and among good and revoked tokens, of which there are so
// many, by popularity: with zipf at 0 all are alike, with more than 1 the k-th is asked
// about in proportion to 1/k^zipf. The seed picks one of the possible decks.
func NewDeck(s Shares, zipf float64, good, revoked, garbage int, seed uint64) (*Deck, error) {
	// The second word only keeps this series apart from others of the seed.
	random := rand.New(rand.NewPCG(seed, 0x746f6b656e73)) //nolint:gosec // repeatable is the point
	draw := [classes]func() uint64{Cold: func() uint64 { return 0 }}
	for class, n := range map[Class]int{Good: good, Revoked: revoked, Garbage: garbage} {
		if n < 0 || n > 1<<32 {
			return nil, fmt.Errorf("drawing tokens: %d %s ones", n, class)
		}
		switch of := uint64(n); {
		case of == 0:
		case zipf == 0 || class == Garbage:
			draw[class] = func() uint64 { return random.Uint64N(of) }
		default:
			popular := rand.NewZipf(random, zipf, 1, of-1)
			if popular == nil {
				return nil, fmt.Errorf("drawing tokens: popularity falls with a power of more than 1, not %g", zipf)
			}
			draw[class] = popular.Uint64
		}
	}
	d := &Deck{cards: make([]card, deckSize)}
	for n := range d.cards {
		c := s.class(random.Float64())
		if draw[c] == nil {
			return nil, fmt.Errorf("drawing tokens: there are no %s ones", c)
		}
		d.cards[n] = card{c, draw[c]()}
		if c == Cold {
			d.cards[n].index = d.cold
			d.cold++
		}
	}
	return d, nil
}

// class is what falls to a number from 0 to 1.
func (s Shares) class(at float64) Class {
	switch {
	case at < s.Garbage:
		return Garbage
	case at < s.Garbage+s.Revoked:
		return Revoked
	case at < s.Garbage+s.Revoked+s.Cold:
		return Cold
	}
	return Good
}

// At is what the n-th request is about: which one of a class.
func (d *Deck) At(n uint64) (Class, uint64) {
	c := d.cards[n%deckSize]
	if c.class == Cold {
		return Cold, n/deckSize*d.cold + c.index
	}
	return c.class, c.index
}

// Colds is how many cold tokens the first n requests are about.
func (d *Deck) Colds(n uint64) int {
	colds := n / deckSize * d.cold
	for _, c := range d.cards[:n%deckSize] {
		if c.class == Cold {
			colds++
		}
	}
	return int(colds) //nolint:gosec // at most n, which is counted in time
}

// Shuffled gives tokens in an order of chance, which the seed picks.
func Shuffled(tokens []Known, seed uint64) []Known {
	all := slices.Clone(tokens)
	random := rand.New(rand.NewPCG(seed, 0x76696374696d73)) //nolint:gosec // repeatable is the point
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
