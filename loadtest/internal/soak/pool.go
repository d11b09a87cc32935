package soak

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/loadtest/internal/issuer"
	"github.com/revocast/revocast/loadtest/internal/scenario"
	"github.com/revocast/revocast/loadtest/internal/token"
)

// session is one that is open, or has been.
type session struct {
	id   string
	fate *scenario.Fate
	// known is its present access token.
	known atomic.Pointer[scenario.Known]
	// refresh is the present refresh token, for who has taken the session from the pool.
	refresh string
}

func newSession(g issuer.Grant) *session {
	s := &session{id: g.Session, fate: new(scenario.Fate)}
	s.renew(g)
	return s
}

// renew takes in what a login or a refresh gave.
func (s *session) renew(g issuer.Grant) {
	s.refresh = g.Refresh
	s.known.Store(&scenario.Known{Token: token.New(g.Access), Class: scenario.Good, Until: time.Now().Add(g.Lifetime), Fate: s.fate})
}

// ended is how many sessions that are over are still asked about.
const ended = 1000

// pool are the sessions, live and ended. Safe for concurrent use.
type pool struct {
	mu sync.Mutex
	// live are those that are asked about, of which idle are those that nobody refreshes
	// or ends at present, the one that has waited longest first.
	live  []*session
	idle  []*session
	ended []*session // the latest at the end
}

// add opens a session to all.
func (p *pool) add(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live = append(p.live, s)
	p.idle = append(p.idle, s)
}

// take gives the session that was longest left alone, for the caller to give back or to
// end; nil if all are in use.
func (p *pool) take() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	s := p.idle[0]
	p.idle = p.idle[1:]
	return s
}

// giveBack ends a caller's use of a session.
func (p *pool) giveBack(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, s)
}

// end moves a session that was taken among those that are over.
func (p *pool) end(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, one := range p.live {
		if one == s {
			p.live[n] = p.live[len(p.live)-1]
			p.live = p.live[:len(p.live)-1]
			break
		}
	}
	if p.ended = append(p.ended, s); len(p.ended) > ended {
		p.ended = p.ended[1:]
	}
}

// size is how many sessions are live.
func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.live)
}

// pick gives the token of a session, live or ended, that at, from 0 to 1, falls on. A live
// one's is good beyond now; of none that can be had ok is false.
func (p *pool) pick(live bool, at float64, now time.Time) (k scenario.Known, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	among := p.ended
	if live {
		among = p.live
	}
	if len(among) == 0 {
		return scenario.Known{}, false
	}
	k = *among[int(at*float64(len(among)))].known.Load()
	return k, !live || k.Until.After(now)
}
