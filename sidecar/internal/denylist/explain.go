package denylist

import (
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
)

// Look is one kind of revocation, as it was looked for on behalf of a token.
type Look struct {
	Kind events.Kind
	// Issuer and Target are what an entry would have to name.
	Issuer events.Issuer
	Target string
	// Looked is false where the token has no such name, so that nothing can name it.
	Looked bool
	// Hit says that the index sends a request on to look exactly. A miss ends it, so
	// an entry that denies beside a miss of a complete index is a fault of the index.
	Hit bool
	// Found is everything there is, in memory and on disk, also what no longer denies.
	Found []Found
}

// Found is one entry that names the token.
type Found struct {
	// Revocation is the entry; of one that was lifted often no more than its names is
	// left, with the lift's own Until.
	Revocation events.Revocation
	// Memory and Disk are where it was found. A lift is remembered in both.
	Memory, Disk bool
	Standing     Standing
}

// Standing says whether an entry denies a token, and if not, why not.
type Standing uint8

// The standings. The zero value denies.
const (
	Denies Standing = iota
	// Lifted: taken back.
	Lifted
	// OutOfDate: its Until is past by the clock that was given.
	OutOfDate
	// Excepted: the token's session is the one that the entry spares.
	Excepted
	// SessionLater: the token's session began after the cut.
	SessionLater
	// MintedLater: the token was minted after the cut.
	MintedLater
	// AuthenticatedLater: the token has no position in this realm's journal, and its
	// authentication came after the time of the cut.
	AuthenticatedLater
)

// String says it in words.
func (s Standing) String() string {
	switch s {
	case Denies:
		return "denies"
	case Lifted:
		return "lifted"
	case OutOfDate:
		return "expired"
	case Excepted:
		return "excepted"
	case SessionLater:
		return "session began after the cut"
	case MintedLater:
		return "token was minted after the cut"
	case AuthenticatedLater:
		return "authenticated after the cut"
	}
	return "unknown"
}

// Explain shows what [Denylist.Lookup] rests on: for each kind everything that names
// the token. Unlike Lookup it always reads the disk. After an error some of it may be
// missing; what is there is right.
func (d *Denylist) Explain(t *Token, now time.Time) ([]Look, error) {
	if t.by != d {
		return nil, ErrUnprepared
	}
	looks := make([]Look, 0, kinds)
	var errs []error
	for _, k := range events.Kinds() {
		at := t.target(k)
		l := Look{Kind: k, Issuer: at.issuer, Target: at.name, Looked: t.has&(1<<bit(k)) != 0}
		if l.Looked {
			key := t.keys[bit(k)]
			l.Hit = d.index.Contains(key, roundUp(now))
			// Memory first: what leaves it is on disk by then.
			l.Found = d.remembered(at, key)
			entries, err := d.store.Find(k, at.issuer, at.name)
			if err != nil {
				errs = append(errs, fmt.Errorf("finding what names the token's %s: %w", k, err))
			}
			for i := range entries {
				l.Found = merge(l.Found, Found{Revocation: entries[i], Disk: true})
			}
			l.Found = d.judge(t, at, l.Found, now)
		}
		looks = append(looks, l)
	}
	return looks, errors.Join(errs...)
}

// remembered is what memory knows of at.
func (d *Denylist) remembered(at target, key uint64) (found []Found) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var known []events.Revocation
	if at.kind.Wide() {
		known = d.wide[at]
	} else {
		known = d.queue.find(nil, at, key)
		if r, ok := d.confirmed.entries[at]; ok {
			found = merge(found, Found{Revocation: r, Memory: true})
		}
	}
	for i := range known {
		found = merge(found, Found{Revocation: known[i], Memory: true})
	}
	return found
}

// merge adds f, unless it is there already from elsewhere.
func merge(list []Found, f Found) []Found {
	for i := range list {
		if have := &list[i]; SameRule(&have.Revocation, &f.Revocation) {
			have.Memory, have.Disk = have.Memory || f.Memory, have.Disk || f.Disk
			return list
		}
	}
	return append(list, f)
}

// judge says of each entry where it stands, and adds lifts whose entries are gone.
func (d *Denylist) judge(t *Token, at target, found []Found, now time.Time) []Found {
	d.mu.RLock()
	defer d.mu.RUnlock()
	gone := map[events.RevocationID]time.Time{}
	for l, until := range d.lifted {
		if l.target == at {
			gone[l.id] = until
		}
	}
	for i := range found {
		f := &found[i]
		_, lifted := gone[f.Revocation.ID]
		f.Standing = standing(&f.Revocation, t, lifted, now)
	}
	for i := range found {
		delete(gone, found[i].Revocation.ID)
	}
	for id, until := range gone {
		found = append(found, Found{Memory: true, Disk: true, Standing: Lifted, Revocation: events.Revocation{
			ID: id, Kind: at.kind, Issuer: at.issuer, Target: at.name, Until: until,
		}})
	}
	return found
}

// standing words what [events.Revocation.Denies] decides.
func standing(r *events.Revocation, t *Token, lifted bool, now time.Time) Standing {
	switch {
	case lifted:
		return Lifted
	case Expired(r.Until, now):
		return OutOfDate
	case denies(r, t):
		return Denies
	case r.Kind == events.KindSubject && r.Except != "" && r.Except == t.Session:
		return Excepted
	case t.SessionAt.IsZero() && t.MintedAt.IsZero():
		return AuthenticatedLater
	case r.Scope == events.ScopeAccessTokens || t.Session == "":
		return MintedLater
	}
	return SessionLater
}

// Knows reports whether a look-up at the time now would be sent on to an entry that
// the store holds: a narrow one by the index, a wide one by the table as well. It
// means something only once [Status].Complete.
func (d *Denylist) Knows(r *events.Revocation, now time.Time) bool {
	if !d.index.Contains(d.key(r), roundUp(now)) {
		return false
	}
	if !r.Kind.Wide() {
		return true
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	list := d.wide[targetOf(r)]
	for i := range list {
		if SameRule(&list[i], r) {
			return true
		}
	}
	return false
}
