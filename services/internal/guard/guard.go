// Package guard stands before the use cases that somebody could try over and over:
// it slows down those who fail (ADR-0011).
//
// A failed login counts against the address it came from, against the user at that
// address, and against the user wherever it came from. A login that proves a device
// which the user is logged in on counts against that device alone. So whoever guesses
// from elsewhere slows other strangers, and never the owner where the owner is known.
//
// A refused refresh counts against what it can harm nobody else by: a forged token
// against its address, a genuine one against its session, as presented from there.
// Nothing that would succeed is ever refused for it.
//
// Invariants:
//
//   - Names that nobody has, users who are disabled and everybody else are slowed
//     alike: a bucket is found by what the request says, and by nothing else.
//   - Only failures count, but before they have happened: many at once do not pass
//     a limit that they would not pass one after the other.
//   - A session that lives is refreshed however many others try theirs, or its own
//     without the proof.
package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/throttle"
)

// Users are the use cases that verify a password, and what helps to judge them.
type Users interface {
	Login(ctx context.Context, l issue.Login) (issue.Grant, error)
	ChangePassword(ctx context.Context, c issue.Caller, current, wanted string) (issue.Revoked, error)
	// Device gives what a login proves about where it comes from: a word for a
	// device that the user is logged in on, or nothing.
	Device(ctx context.Context, l issue.Login) (string, error)
	NoteLogin(action events.Action, l issue.Login)
}

// Refresher is the use case of refreshing.
type Refresher interface {
	Refresh(ctx context.Context, r issue.Refresh) (issue.Grant, error)
}

// Limits say how much may fail.
type Limits struct {
	// Login is for one user from one address; from one known device as well, and
	// for the password that a change of it asks for.
	Login throttle.Limit
	// User is for one user from everywhere but known devices.
	User throttle.Limit
	// Address is for the logins from one address, and for the forged refresh
	// tokens. Behind a proxy that is not trusted everybody has one address.
	Address throttle.Limit
	// Refresh is for one session from one address.
	Refresh throttle.Limit
}

// Notes of failed logins: one a user and minute, and so many altogether, so that
// names made up do not fill the audit.
const (
	notedPerUser = 1
	notedInAll   = 100
	notedEvery   = time.Minute
)

// lookedUpWithin is when an attempt is refused for which devices had to be looked up:
// how many sessions a user has, if any, makes a difference of a millisecond or less,
// which nothing else would hide here.
const lookedUpWithin = 25 * time.Millisecond

// Guard stands before an issuer's use cases. It is safe for concurrent use.
type Guard struct {
	users     Users
	refresher Refresher
	throttled *prometheus.CounterVec
	set       *throttle.Set

	// by what failures count
	address, userAddress, user, device, password *throttle.Table
	forged, refused, over                        *throttle.Table
	// what is noted
	failures, refusals, notes *throttle.Table
}

// New makes a guard. now tells the time.
func New(limits Limits, users Users, refresher Refresher, now func() time.Time, metrics prometheus.Registerer) (*Guard, error) {
	s := throttle.New(now)
	g := &Guard{
		users: users, refresher: refresher, set: s,
		address: s.Table("login_address", limits.Address), userAddress: s.Table("login_user_address", limits.Login),
		user: s.Table("login_user", limits.User), device: s.Table("login_device", limits.Login),
		password: s.Table("password_change", limits.Login),
		forged:   s.Table("refresh_address", limits.Address), refused: s.Table("refresh_session", limits.Refresh),
		over:     s.Table("refresh_ended_session", limits.Refresh),
		failures: s.Table("note", throttle.Limit{Failures: notedPerUser, Per: notedEvery}),
		refusals: s.Table("note", throttle.Limit{Failures: notedPerUser, Per: notedEvery}),
		notes:    s.Table("note", throttle.Limit{Failures: notedInAll, Per: notedEvery}),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_issuer_throttled_total",
			Help: "Requests that were told to wait, by the limit that was reached.",
		}, []string{"what"}),
	}
	for _, t := range []*throttle.Table{g.address, g.userAddress, g.user, g.device, g.password, g.forged, g.refused, g.over} {
		g.throttled.WithLabelValues(t.Name())
	}
	if err := metrics.Register(g.throttled); err != nil {
		return nil, fmt.Errorf("registering throttle metrics: %w", err)
	}
	return g, nil
}

// Login is the use case of that name, or [issue.ThrottledError].
func (g *Guard) Login(ctx context.Context, l issue.Login) (grant issue.Grant, err error) {
	attempt, err := g.admit(ctx, l)
	if err != nil {
		return issue.Grant{}, err
	}
	failed := true // also if what follows panics
	defer func() { attempt.Settle(failed) }()
	grant, err = g.users.Login(ctx, l)
	if failed = isFailure(ctx, err); failed {
		g.note(events.ActionLoginFailed, g.failures, l)
	}
	return grant, err
}

// isFailure tells wrong passwords, and callers who did not wait for the answer, from
// everything that is not their fault.
func isFailure(ctx context.Context, err error) bool {
	return errors.Is(err, issue.ErrCredentials) || err != nil && ctx.Err() != nil
}

func (g *Guard) admit(ctx context.Context, l issue.Login) (throttle.Attempt, error) {
	began := time.Now()
	from := network(l.Address)
	buckets := []throttle.Bucket{g.address.Bucket(from), g.userAddress.Bucket(l.Username, from), g.user.Bucket(l.Username)}
	device, err := g.users.Device(ctx, l)
	if err != nil {
		return throttle.Attempt{}, err
	}
	if device != "" {
		buckets = []throttle.Bucket{g.device.Bucket(l.Username, device)}
	}
	attempt, err := g.set.Draw(ctx, buckets...)
	if err = g.explain(err); errors.Is(err, issue.ErrSlowDown) {
		g.note(events.ActionLoginThrottled, g.refusals, l)
		if l.DeviceID != "" || l.DeviceSecret != "" {
			waitUntil(ctx, began.Add(lookedUpWithin))
		}
	}
	return attempt, err
}

// waitUntil returns at that time, or when ctx ends.
func waitUntil(ctx context.Context, at time.Time) {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// ChangePassword is the use case of that name, or [issue.ThrottledError]: whoever has
// got hold of an access token may not try passwords with it either.
func (g *Guard) ChangePassword(ctx context.Context, c issue.Caller, current, wanted string) (done issue.Revoked, err error) {
	attempt, err := g.set.Draw(ctx, g.password.Bucket(string(c.Subject), string(c.Session)))
	if err != nil {
		return issue.Revoked{}, g.explain(err)
	}
	failed := true
	defer func() { attempt.Settle(failed) }()
	done, err = g.users.ChangePassword(ctx, c, current, wanted)
	failed = isFailure(ctx, err)
	return done, err
}

// explain turns a refusal into what the use cases' callers know, and counts it.
func (g *Guard) explain(err error) error {
	refusal, ok := errors.AsType[*throttle.Error](err)
	if !ok {
		return err
	}
	g.throttled.WithLabelValues(refusal.Table).Inc()
	return &issue.ThrottledError{After: refusal.After}
}

// note has a login noted, unless one of the user's was a moment ago.
func (g *Guard) note(action events.Action, seldom *throttle.Table, l issue.Login) {
	user, all := seldom.Bucket(l.Username), g.notes.Bucket()
	if g.set.Empty(all) == nil && g.set.Count(user) == nil && g.set.Count(all) == nil {
		g.users.NoteLogin(action, l)
	}
}

// network is what an address counts as: an IPv6 host has a whole /64 to itself. All
// that are not known are one.
func network(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	prefix, err := a.Prefix(64)
	if err != nil {
		return "unknown"
	}
	return prefix.String()
}
