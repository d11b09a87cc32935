package keyring

import (
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

const (
	// MaxAge is how old an issuer's reading may be by which it still signs.
	MaxAge = 30 * time.Second
	// underWay covers what was decided with a key and is signed a little later.
	underWay = 10 * time.Second
	// Propagation is the shortest time between a key's announcement and its first
	// use, unless nothing else may sign: what the feed needs to reach every sidecar
	// that follows it.
	Propagation = 5 * time.Second
	// settle is how long a key may be known by name alone: longer than the issuer
	// that makes it tries to seal its secret.
	settle = 15 * time.Second
	// MaxKeys bounds the signing keys of one algorithm that are not gone, and the MAC
	// keys that are not retired.
	MaxKeys = 16
)

// Policy is what an issuer is configured to do with its keys.
type Policy struct {
	// Algorithms are those that a key must exist for. The first is what this issuer
	// signs with, and is rotated on schedule.
	Algorithms []string
	// Interval is the time from one key's first use to the next key's; zero rotates
	// nothing on schedule.
	Interval time.Duration
	// Overlap is how long a key of the schedule is announced before its first use.
	Overlap time.Duration
	// AccessTTL is the longest lifetime of access tokens given by this issuer.
	AccessTTL time.Duration
	// KeepMAC is how long a retired MAC key must be known; zero is for ever.
	KeepMAC time.Duration
	// Holds says whether this issuer has the secret half of a signing key at hand.
	Holds func(events.KeyID) bool
}

// Step is one thing to be done. Each is one append, or two of which the first
// decides; all come after what the ring says was last. The set is closed.
//
//sumtype:decl
type Step interface{ step() }

type (
	// Make makes a signing key: of the issuer's directory if the algorithm has had
	// none, else a new one.
	Make struct {
		Algorithm string
		NotBefore time.Time
		// First: the journal knows no key of this algorithm.
		First bool
	}
	// Seal puts the secret of a key into the journal that whoever made it did not.
	Seal struct{ Key events.Key }
	// Retire ends a signing key's use; Until is set.
	Retire struct{ Key events.Key }
	// Forget removes the secret of a key that is retired, or is none; Retired is set.
	Forget struct{ Secret events.Secret }
	// MakeMAC makes a MAC key.
	MakeMAC struct {
		Since time.Time
		// First: the journal knows no MAC key.
		First bool
	}
	// RetireMAC ends a MAC key's use; Retired is set.
	RetireMAC struct{ Secret events.Secret }
)

func (Make) step()      {}
func (Seal) step()      {}
func (Retire) step()    {}
func (Forget) step()    {}
func (MakeMAC) step()   {}
func (RetireMAC) step() {}

// Next gives what is to be done next, nil for nothing. Whoever has done it reads
// again and asks again. It asks for nothing without the broker's time.
func Next(r Ring, p Policy) Step {
	if r.Unreadable || r.Now.IsZero() {
		return nil
	}
	for _, next := range []func(Ring, Policy) Step{missing, unsealed, superseded, forgotten, due, macs} {
		if s := next(r, p); s != nil {
			return s
		}
	}
	return nil
}

// missing asks for a key of every algorithm of which none may sign, at once: there
// was never one, or all are revoked.
func missing(r Ring, p Policy) Step {
	for _, a := range p.Algorithms {
		known := r.of(a)
		underWay := slices.ContainsFunc(known, func(k Key) bool { return k.Phase(r.Now) == Incomplete })
		if len(r.Candidates(a)) == 0 && !underWay && r.standing(a) < MaxKeys {
			return Make{Algorithm: a, NotBefore: r.Now.Truncate(time.Second), First: len(known) == 0}
		}
	}
	return nil
}

// of gives the keys of an algorithm that the journal still knows, also those that are
// gone.
func (r Ring) of(algorithm string) []Key {
	return slices.DeleteFunc(slices.Clone(r.Keys), func(k Key) bool { return k.Algorithm != algorithm })
}

// standing counts the keys of an algorithm that are not gone.
func (r Ring) standing(algorithm string) int {
	return len(slices.DeleteFunc(r.of(algorithm), func(k Key) bool { return k.Phase(r.Now) == Gone }))
}

// unsealed completes what an issuer left half done, or gives it up if only that
// issuer could have.
func unsealed(r Ring, p Policy) Step {
	for _, k := range r.Keys {
		if k.Phase(r.Now) != Incomplete {
			continue
		}
		if p.Holds(k.ID) {
			return Seal{k.Key}
		}
		if r.Now.Sub(k.Recorded) > settle {
			return Retire{k.retired(r.Now)} // it has signed nothing
		}
	}
	return nil
}

// superseded retires what is older than the key that signs, and what was revoked once
// another signs.
func superseded(r Ring, p Policy) Step {
	for _, k := range r.Keys {
		signs := signer(r, k.Algorithm)
		if k.Retired || k.Phase(r.Now) == Incomplete || signs.ID == "" || k.ID == signs.ID || newer(k, signs) && !k.Revoked {
			continue
		}
		return Retire{k.retired(r.Now.Add(p.outstanding(r)))}
	}
	return nil
}

// signer is the key that signs by the broker's clock; the zero Key if none's time
// has come.
func signer(r Ring, algorithm string) Key {
	for _, k := range r.Keys {
		if k.Algorithm == algorithm && k.candidate() && !r.Now.Before(k.NotBefore) {
			return k
		}
	}
	return Key{}
}

func newer(k, than Key) bool {
	return k.NotBefore.After(than.NotBefore) || k.NotBefore.Equal(than.NotBefore) && k.ID < than.ID
}

func (k Key) retired(until time.Time) events.Key {
	k.Until = until
	return k.Key
}

// outstanding is how long a token may still be accepted that any issuer signs by a
// reading from before now.
func (p Policy) outstanding(r Ring) time.Duration {
	return MaxAge + underWay + max(p.AccessTTL, r.Longest) + events.MaxLeeway + 2*events.MaxSkew
}

// forgotten removes secrets that nothing is signed with any more.
func forgotten(r Ring, _ Policy) Step {
	old := slices.Clip(r.Stray)
	for _, k := range r.Keys {
		if k.Retired && k.Secret.ID != "" && k.Secret.Retired.IsZero() {
			old = append(old, k.Secret)
		}
	}
	if len(old) == 0 {
		return nil
	}
	s := old[0]
	s.Retired = r.Now
	return Forget{s}
}

// due asks for the next key of the schedule. One that is announced already counts,
// and so does one that is being made.
func due(r Ring, p Policy) Step {
	if p.Interval <= 0 || len(p.Algorithms) == 0 {
		return nil
	}
	known := r.of(p.Algorithms[0])
	i := slices.IndexFunc(known, func(k Key) bool { return k.candidate() || k.Phase(r.Now) == Incomplete })
	if i < 0 || r.standing(p.Algorithms[0]) >= MaxKeys || r.Now.Before(known[i].NotBefore.Add(p.Interval)) {
		return nil
	}
	return Make{Algorithm: p.Algorithms[0], NotBefore: r.Now.Add(max(p.Overlap, Propagation))}
}

// macs asks for what the MAC keys need.
func macs(r Ring, p Policy) Step {
	if len(r.MACs) == 0 {
		return MakeMAC{Since: r.Now.Truncate(time.Second), First: true}
	}
	list := r.MACCandidates()
	i := Pick(list, r.Now)
	for _, m := range r.MACs {
		if i >= 0 && m.Retired.IsZero() && !slices.Contains(list[:i+1], Candidate{m.ID, m.Since}) {
			m.Retired = r.Now
			return RetireMAC{m.Secret}
		}
	}
	if p.Interval > 0 && len(list) < MaxKeys && !r.Now.Before(r.MACs[0].Since.Add(p.Interval)) {
		return MakeMAC{Since: r.Now.Add(max(p.Overlap, Propagation))}
	}
	return nil
}
