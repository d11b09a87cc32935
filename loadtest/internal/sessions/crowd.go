// Package sessions is the load of many sessions on issuers: users log in, their apps
// refresh, some revoke. It knows what must be true of every session, and in the end it
// asks.
//
// Invariants:
//
//   - One operation at a time has a session, so that its last refresh token is known.
//     Only where contention is asked for is one token used by several requests at once.
//   - A session of which an answer is missing is set aside: nobody knows its last token.
//     It is counted, and neither used nor judged any more.
//   - No token or password is printed, logged or part of an error.
package sessions

import (
	"maps"
	"sync"

	"github.com/revocast/revocast/loadtest/internal/issuer"
)

// Config says whose sessions there are.
type Config struct {
	// Issuers are asked in turn; they share one journal.
	Issuers []*issuer.Issuer
	// Users log in in turn.
	Users []issuer.Login
	// Contention is how often each refresh is sent at once, with the same token; 0 is 1.
	Contention int
	// Operator revokes as an operator; otherwise an app revokes its own refresh token.
	Operator bool
}

// Crowd is the sessions of a run. Safe for concurrent use.
type Crowd struct {
	cfg Config

	mu     sync.Mutex
	living []held // the one that waited longest is the first
	ended  []held
	tally  Tally
}

// held is a session whose last token is known. It does not show when printed.
type held struct {
	client, session, refresh string
}

// String implements [fmt.Stringer].
func (h held) String() string { return "session " + h.session }

// GoString implements [fmt.GoStringer].
func (h held) GoString() string { return h.String() }

// Tally counts what became of sessions.
type Tally struct {
	Opened, Revoked int64
	// Aside are those whose state nobody knows, since an answer is missing.
	Aside int64
	// Wanting are operations that were due when no session was free.
	Wanting int64
	// Outcomes of refreshes under load, as the issuer calls them; of contention's
	// requests each.
	Outcomes map[string]int64

	// Forked are sessions with two successors of one refresh token, LoggedOut those that
	// nobody ended and whose last token was refused, and Resurrected those that were
	// revoked and refreshed. There must be none of any.
	Forked, LoggedOut, Resurrected int64
	// Unchecked are sessions that were not judged in the end.
	Unchecked int64
}

// New makes a crowd of nobody.
func New(cfg Config) *Crowd {
	cfg.Contention = max(cfg.Contention, 1)
	return &Crowd{cfg: cfg, tally: Tally{Outcomes: map[string]int64{}}}
}

// Tally is the count so far.
func (c *Crowd) Tally() Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally
	t.Outcomes = maps.Clone(t.Outcomes)
	return t
}

// Living is how many sessions can be used.
func (c *Crowd) Living() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.living)
}

// issuer is whose turn it is.
func (c *Crowd) issuer(n uint64) *issuer.Issuer { return c.cfg.Issuers[n%uint64(len(c.cfg.Issuers))] }

// user is who logs in next.
func (c *Crowd) user(n uint64) issuer.Login { return c.cfg.Users[n%uint64(len(c.cfg.Users))] }

// take gives the session that has rested longest, and false if there is none.
func (c *Crowd) take() (held, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.living) == 0 {
		return held{}, false
	}
	h := c.living[0]
	c.living = c.living[1:]
	return h, true
}

// put gives a session back, or a new one.
func (c *Crowd) put(h held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.living = append(c.living, h)
}

// count changes the tally.
func (c *Crowd) count(f func(*Tally)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.tally)
}

// end remembers a session as revoked.
func (c *Crowd) end(h held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = append(c.ended, h)
	c.tally.Revoked++
}
