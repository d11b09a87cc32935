package keyring

import (
	"cmp"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

// What a secret is for, as [events.Secret] has it.
const (
	UseSign = "sign"
	UseMAC  = "mac"
)

// Phase is where a key stands in its life. The zero Phase is Gone: no good for
// anything.
type Phase uint8

// The phases; the package comment shows how they follow each other.
const (
	// Gone: nothing made with the key is accepted.
	Gone Phase = iota
	// Incomplete: known by name; its secret is not in the journal yet.
	Incomplete
	// Announced: verifiers learn of it.
	Announced
	// Signing: it may make something new, if it is the newest such key.
	Signing
	// Retired: what was made with it is still accepted.
	Retired
	// Revoked: somebody else has it, or may have.
	Revoked
)

// String gives the name that operators read.
func (p Phase) String() string {
	switch p {
	case Incomplete:
		return "incomplete"
	case Announced:
		return "announced"
	case Signing:
		return "signing"
	case Retired:
		return "retired"
	case Revoked:
		return "revoked"
	case Gone:
	}
	return "gone"
}

// Key is a signing key as the journal tells its life. Until and NotBefore are in
// the embedded event; Until is zero unless Retired.
type Key struct {
	events.Key
	// Sequence is where its last record stands, and Recorded when that was stored,
	// by the broker's clock.
	Sequence uint64
	Recorded time.Time
	// Retired: nothing new may be signed with it.
	Retired bool
	// Revoked: a revocation of it is recorded, or was announced.
	Revoked bool
	// Secret is its other half, sealed; the zero Secret once it is forgotten.
	Secret events.Secret
}

// Phase judges the key at a time.
func (k Key) Phase(now time.Time) Phase {
	switch {
	case k.ID == "", k.Retired && !now.Before(k.Until):
		return Gone
	case k.Revoked:
		return Revoked
	case k.Retired:
		return Retired
	case k.Secret.ID == "":
		return Incomplete
	case now.Before(k.NotBefore):
		return Announced
	}
	return Signing
}

// candidate reports whether the key may make something new, now or later.
func (k Key) candidate() bool { return !k.Retired && !k.Revoked && k.Secret.ID != "" }

// MAC is a key of refresh tokens.
type MAC struct {
	events.Secret
	Sequence uint64
}

// Phase judges the key at a time. A retired one is gone when its record is.
func (m MAC) Phase(now time.Time) Phase {
	switch {
	case m.ID == "":
		return Gone
	case !m.Retired.IsZero():
		return Retired
	case now.Before(m.Since):
		return Announced
	}
	return Signing
}

// Ring is all keys of one issuer, as of one reading of the journal. It is
// read-only. The zero Ring has no keys, and nothing follows from it.
type Ring struct {
	// Keys and MACs are sorted: the newest first, those of one second by id, so that
	// every reader puts them into the same order.
	Keys []Key
	MACs []MAC
	// Now is the broker's time behind the barrier; zero for a reading without one.
	Now time.Time
	// KeysAt and SecretsAt are the last sequence on any subject of either kind: what
	// an append that changes them comes after.
	KeysAt, SecretsAt uint64
	// Longest is the longest lifetime of access tokens that issuers have declared.
	Longest time.Duration
	// Stray are secrets of signing keys that have no key, left by an issuer that came
	// too late with them.
	Stray []events.Secret
	// Unreadable is set by an event that this version does not know: then nothing is
	// to be done by it.
	Unreadable bool
}

// Fold makes a ring of the last records of all keys, secrets, declared lifetimes
// and the barrier, and of the cuts of those keys. Keys of other issuers do not count.
func Fold(issuer events.Issuer, records []events.Record) Ring {
	var r Ring
	var lifetimes []events.Lifetime
	secrets := map[events.KeyID]events.Secret{}
	named, revoked := map[events.KeyID]bool{}, map[events.KeyID]bool{}
	for _, record := range records {
		_, place, err := subject.Parse(record.Subject)
		if err != nil {
			r.Unreadable = true
			continue
		}
		switch place := place.(type) { //nolint:gochecksumtype // only what was asked for moves the two
		case subject.Key:
			r.KeysAt = max(r.KeysAt, record.Position.Sequence)
			named[place.ID] = true
		case subject.Secret:
			r.SecretsAt = max(r.SecretsAt, record.Position.Sequence)
		}
		switch e := record.Envelope.Event.(type) {
		case events.KeyAdded:
			r.Keys = appendOwn(r.Keys, issuer, record, e.Key, false)
		case events.KeyRetired:
			r.Keys = appendOwn(r.Keys, issuer, record, e.Key, true)
		case events.SecretSealed:
			if e.Secret.Use == UseMAC {
				r.MACs = append(r.MACs, MAC{Secret: e.Secret, Sequence: record.Position.Sequence})
			} else {
				secrets[e.Secret.ID] = e.Secret
			}
		case events.CutsRecorded:
			for _, c := range e.Cuts {
				if c.Kind == events.KindKey && c.Issuer == issuer {
					revoked[events.KeyID(c.Target)] = true
				}
			}
		case events.LifetimesDeclared:
			lifetimes = e.Lifetimes
		case events.BarrierPassed:
			if record.Time.After(r.Now) {
				r.Now = record.Time
			}
		case events.Unknown:
			r.Unreadable = true
		case events.SessionStarted, events.SessionRefreshed, events.SessionRevoked, events.SessionReplayed,
			events.Revoked, events.Lifted, events.UserRegistered, events.PasswordChanged, events.UserUpdated,
			events.ClientUpdated, events.OperatorAdded, events.OperatorRemoved, events.Noted, events.Heartbeat:
			// Not on these subjects.
		}
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		k.Secret, k.Revoked = secrets[k.ID], revoked[k.ID]
	}
	for id, s := range secrets {
		if !named[id] && s.Retired.IsZero() {
			r.Stray = append(r.Stray, s)
		}
	}
	for _, l := range lifetimes {
		if r.Now.Before(l.Seen.Add(l.TTL)) {
			r.Longest = max(r.Longest, l.TTL)
		}
	}
	return r.sorted()
}

func appendOwn(list []Key, issuer events.Issuer, record events.Record, k events.Key, retired bool) []Key {
	if k.Issuer != issuer {
		return list
	}
	return append(list, Key{Key: k, Sequence: record.Position.Sequence, Recorded: record.Time, Retired: retired})
}

// sorted changes nothing but the order.
func (r Ring) sorted() Ring {
	slices.SortFunc(r.Keys, func(a, b Key) int {
		return cmp.Or(b.NotBefore.Compare(a.NotBefore), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(r.MACs, func(a, b MAC) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(r.Stray, func(a, b events.Secret) int { return cmp.Compare(a.ID, b.ID) })
	return r
}

// Deny gives the ring in which the keys that f names are revoked as well: a denial
// counts from its announcement, not from its record.
func (r Ring) Deny(f func(events.KeyID) bool) Ring {
	r.Keys = slices.Clone(r.Keys)
	for i := range r.Keys {
		r.Keys[i].Revoked = r.Keys[i].Revoked || f(r.Keys[i].ID)
	}
	return r
}

// Key finds a signing key.
func (r Ring) Key(id events.KeyID) (Key, bool) {
	i := slices.IndexFunc(r.Keys, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return Key{}, false
	}
	return r.Keys[i], true
}

// Candidate is a key that may make something new, from a time on.
type Candidate struct {
	ID   events.KeyID
	From time.Time
}

// Candidates are the signing keys of an algorithm that may sign now or later, the
// newest first.
func (r Ring) Candidates(algorithm string) []Candidate {
	var list []Candidate
	for _, k := range r.Keys {
		if k.Algorithm == algorithm && k.candidate() {
			list = append(list, Candidate{k.ID, k.NotBefore})
		}
	}
	return list
}

// MACCandidates are the MAC keys that are not retired, the newest first.
func (r Ring) MACCandidates() []Candidate {
	var list []Candidate
	for _, m := range r.MACs {
		if m.Retired.IsZero() {
			list = append(list, Candidate{m.ID, m.Since})
		}
	}
	return list
}

// Pick gives the index of the candidate to use at a time: the newest whose time has
// come. If none has, as when everything before it was revoked or this clock is late,
// the one whose time comes first is used early. Minus one is for an empty list.
func Pick(newestFirst []Candidate, now time.Time) int {
	for i, c := range newestFirst {
		if !now.Before(c.From) {
			return i
		}
	}
	return len(newestFirst) - 1
}
