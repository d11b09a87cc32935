package main

import (
	"sync"

	"github.com/coder/websocket"

	"github.com/revocast/revocast/events"
)

// identity is what the sidecar says about a token.
type identity struct{ session, subject, client string }

// connection is one open WebSocket.
type connection struct {
	identity
	// end takes one ending, and is read by whoever serves the connection.
	end chan ending
}

// ending is what the client is told at last.
type ending struct {
	code   websocket.StatusCode
	reason string
}

// registry knows the open connections, by session. Safe for concurrent use.
type registry struct {
	open sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	sessions map[string]map[*connection]struct{}
}

func newRegistry() *registry {
	return &registry{sessions: make(map[string]map[*connection]struct{})}
}

// add registers a connection; false: too late, the service is going down. Each
// connection that was added has to be removed.
func (r *registry) add(who identity) (*connection, bool) {
	c := &connection{identity: who, end: make(chan ending, 1)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, false
	}
	if r.sessions[who.session] == nil {
		r.sessions[who.session] = make(map[*connection]struct{})
	}
	r.sessions[who.session][c] = struct{}{}
	r.open.Add(1)
	return c, true
}

func (r *registry) remove(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(c)
	r.open.Done()
}

func (r *registry) forget(c *connection) {
	delete(r.sessions[c.session], c)
	if len(r.sessions[c.session]) == 0 {
		delete(r.sessions, c.session)
	}
}

// end tells every connection that a revocation covers to close, and how many these
// were. It does not wait for clients, which may be slow to answer.
func (r *registry) end(revocation events.Revocation) int {
	e := ending{statusRevoked, reasonText(revocation.Reason)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if revocation.Kind == events.KindSession {
		return r.tell(r.sessions[revocation.Target], revocation, e)
	}
	n := 0
	for _, connections := range r.sessions {
		n += r.tell(connections, revocation, e)
	}
	return n
}

// tell sends e to those that are covered, and forgets them: they get no other.
func (r *registry) tell(connections map[*connection]struct{}, revocation events.Revocation, e ending) int {
	n := 0
	for c := range connections {
		if covers(revocation, c.identity) {
			c.end <- e // it has room, see forget
			r.forget(c)
			n++
		}
	}
	return n
}

// covers errs on the side of closing: a client that is still allowed in just
// connects again. So a wide revocation's cut is not looked at (the sidecar does that
// when the client returns), nor the issuer.
func covers(r events.Revocation, who identity) bool {
	switch r.Kind {
	case events.KindSession:
		return who.session == r.Target
	case events.KindSubject:
		return who.subject == r.Target && who.session != string(r.Except)
	case events.KindClient:
		return who.client == r.Target
	case events.KindAll, events.KindKey:
		return true // which key signed a token the sidecar does not say
	case events.KindToken, events.KindUnknown:
		// A connection lives by its session, not by the token that opened it.
	}
	return false
}

// close tells every connection that the service is going down, and waits until all
// have been removed.
func (r *registry) close() {
	r.mu.Lock()
	r.closed = true
	for _, connections := range r.sessions {
		for c := range connections {
			c.end <- ending{websocket.StatusGoingAway, "shutting down"}
			r.forget(c)
		}
	}
	r.mu.Unlock()
	r.open.Wait()
}
