package denylist

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/revocast/revocast/events"
)

// ErrEntry is returned for an entry or a lift that could not be kept or found
// again. The codec lets none of these through.
var ErrEntry = errors.New("not an entry of a denylist")

// Bounds on what one entry holds. Those of the wire are narrower; these keep a
// store's keys within what it can take.
const (
	maxName = 4096
	maxID   = 64
	maxText = 1024
)

// never is the expiry of an entry without one, in Unix seconds.
const never = math.MaxInt64

// Canonical gives r in the one form that stores keep: times in whole UTC seconds,
// as on the wire, Until rounded up; no cut, scope or exception on kinds that have
// none. It is [ErrEntry] if r names nothing, or nothing that could be kept.
func Canonical(r events.Revocation) (events.Revocation, error) {
	err := checkEntry(&r)
	return canonical(r), err
}

func checkEntry(r *events.Revocation) error {
	if len(r.Except) > maxName || len(r.Reason) > maxText || len(r.By.Role) > maxText || len(r.By.Name) > maxText {
		return fmt.Errorf("%w: revocation %.64s is too large", ErrEntry, r.ID)
	}
	if r.Scope > events.ScopeAccessTokens {
		return fmt.Errorf("%w: scope %d", ErrEntry, r.Scope)
	}
	return checkName(r.Kind, r.Issuer, r.Target, r.ID)
}

func canonical(r events.Revocation) events.Revocation {
	r.Until = deadline(untilSeconds(r.Until))
	if r.Kind != events.KindSubject {
		r.Except = ""
	}
	if !r.Kind.Wide() {
		r.Cut, r.CutTime, r.Scope = events.Position{}, time.Time{}, events.ScopeSessions
	}
	if r.Cut.IsZero() {
		r.Cut = events.Position{}
	}
	if !r.CutTime.IsZero() {
		r.CutTime = time.Unix(r.CutTime.Unix(), 0).UTC()
	}
	return r
}

// CanonicalLift does the same for a lift. It drops the signature, which whoever
// calls Apply has verified.
func CanonicalLift(l events.Lift) (events.Lift, error) {
	l.Until = deadline(untilSeconds(l.Until))
	l.Signature = nil
	return l, checkName(l.Kind, l.Issuer, l.Target, l.RevocationID)
}

func checkName(k events.Kind, issuer events.Issuer, name string, id events.RevocationID) error {
	switch {
	case k == events.KindUnknown || k > events.KindAll:
		return fmt.Errorf("%w: kind %d", ErrEntry, k)
	case issuer == "" || len(issuer) > maxName:
		return fmt.Errorf("%w: issuer of %d bytes", ErrEntry, len(issuer))
	case k == events.KindAll && name != "", k != events.KindAll && name == "", len(name) > maxName:
		return fmt.Errorf("%w: %s of %d bytes", ErrEntry, k, len(name))
	case id == "" || len(id) > maxID:
		return fmt.Errorf("%w: revocation id of %d bytes", ErrEntry, len(id))
	}
	return nil
}

// untilSeconds is a deadline in whole Unix seconds, rounded up. The zero time is
// no deadline.
func untilSeconds(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return roundUp(t)
}

// roundUp gives whole Unix seconds. A deadline of whole seconds has passed at t
// exactly if it is less. The zero time is before all deadlines.
func roundUp(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

// deadline is the inverse of untilSeconds.
func deadline(s int64) time.Time {
	if s == never {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

// Expired reports whether now is past an entry's or a lift's Until. Without an
// Until they do not expire.
func Expired(until, now time.Time) bool {
	return !until.IsZero() && now.After(until)
}

// SameRule reports whether a and b, in canonical form, are the same entry: they say
// the same of the same target under the same revocation id, for whatever reason.
func SameRule(a, b *events.Revocation) bool {
	return a.ID == b.ID && a.Kind == b.Kind && a.Issuer == b.Issuer && a.Target == b.Target &&
		a.Cut == b.Cut && a.CutTime.Equal(b.CutTime) && a.Scope == b.Scope && a.Except == b.Except &&
		a.Until.Equal(b.Until)
}

// LaterUntil gives the later of two deadlines; the zero time is no deadline.
func LaterUntil(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && a.After(b) {
		return a
	}
	return b
}

// denies reports whether r denies t, by the rule of all (package events).
func denies(r *events.Revocation, t *Token) bool {
	return r.Denies(&events.Facts{
		Issuer: t.Issuer, Token: t.ID, Session: t.Session, Subject: t.Subject, Client: t.Client, Key: t.Key,
		SessionAt: t.SessionAt, MintedAt: t.MintedAt, AuthTime: t.AuthTime, IssuedAt: t.IssuedAt,
	})
}
