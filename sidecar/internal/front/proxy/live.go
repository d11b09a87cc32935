package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/gate"
)

const (
	// spared is how long a request is left alone that is not a WebSocket.
	spared = 2 * time.Second
	// lookEvery is how often all that lives is judged without being told to.
	lookEvery = time.Second
	// leastRest and restFactor bound what judging takes: it is followed by a rest of so
	// many times its length, by this at least, and by lookEvery at most.
	leastRest  = 10 * time.Millisecond
	restFactor = 9
	// askers is how many of those are judged at once of whom memory does not tell enough.
	// That leaves requests half of the questions that the disk is asked at a time.
	askers = 32
	// endWithin bounds how long ended exchanges are waited for at the end.
	endWithin = 3 * time.Second
)

// Codes of close frames (RFC 6455 section 7.4.1).
const (
	codeGoingAway = 1001
	codePolicy    = 1008
)

// live is what is under way.
type live struct {
	tunnelled prometheus.Gauge

	mu        sync.Mutex
	exchanges map[*exchange]bool // whether there is a tunnel
	tunnels   int
	shut      bool
	empty     chan struct{} // closed once shut and without tunnels
}

func newLive(tunnelled prometheus.Gauge) *live {
	return &live{tunnelled: tunnelled, exchanges: map[*exchange]bool{}, empty: make(chan struct{})}
}

func (l *live) add(e *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.exchanges[e] = false
}

// upgrade notes that there is a tunnel, and reports whether there may be new ones.
func (l *live) upgrade(e *exchange) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.exchanges[e] = true
	l.tunnels++
	l.tunnelled.Inc()
	return !l.shut
}

func (l *live) remove(e *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.exchanges[e] {
		l.tunnels--
		l.tunnelled.Dec()
	}
	delete(l.exchanges, e)
	if l.shut && l.tunnels == 0 {
		l.tellEmpty()
	}
}

// close lets there be no new tunnels.
func (l *live) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut = true
	if l.tunnels == 0 {
		l.tellEmpty()
	}
}

func (l *live) tellEmpty() {
	select {
	case <-l.empty:
	default:
		close(l.empty)
	}
}

// lasting are those that began before, and all tunnels.
func (l *live) lasting(before time.Time) []*exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*exchange, 0, len(l.exchanges))
	for e, tunnel := range l.exchanges {
		if tunnel || e.begun.Before(before) {
			all = append(all, e)
		}
	}
	return all
}

// Changed says that revocations have come. It does not wait.
func (p *Proxy) Changed() {
	select {
	case p.changed <- struct{}{}:
	default: // it is known already
	}
}

// Run ends what must not last, until ctx ends. Then it ends all tunnels, of which the
// server knows nothing, and connections to the application that nobody uses.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.carry.closeIdle()
	unsure := make(chan []*exchange, 1)
	var asking sync.WaitGroup
	asking.Go(func() { p.askOn(ctx, unsure) })
	defer asking.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.finish()
			return nil
		case <-p.changed:
		case <-tick.C:
		}
		began := time.Now()
		if left := p.sweep(ctx); len(left) > 0 {
			select {
			case <-unsure: // nobody has begun with them, and who still lasts is among those left
			default:
			}
			unsure <- left
		}
		rest(ctx, began)
	}
}

// rest follows work that began then.
func rest(ctx context.Context, began time.Time) {
	wait := time.NewTimer(min(max(leastRest, restFactor*time.Since(began)), lookEvery))
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-wait.C:
	}
}

// sweep judges all that lasts by what is known without waiting, so that nobody who has to
// be waited for holds up another's end, and gives those of whom that is not enough.
func (p *Proxy) sweep(ctx context.Context) (unsure []*exchange) {
	over, cancel := context.WithCancel(ctx)
	cancel()
	for _, e := range p.live.lasting(time.Now().Add(-spared)) {
		if !e.judged {
			continue
		}
		switch answer := p.check.Again(over, e.request); answer.Decision.Reason { //nolint:exhaustive // all others are certain
		case gate.ReasonKeysUnavailable, gate.ReasonLookupFailed:
			unsure = append(unsure, e)
		default:
			p.hold(e, answer)
		}
	}
	return unsure
}

// askOn judges those of whom a sweep was unsure, each for as long as a request may wait.
func (p *Proxy) askOn(ctx context.Context, unsure <-chan []*exchange) {
	for {
		var all []*exchange
		select {
		case <-ctx.Done():
			return
		case all = <-unsure:
		}
		began := time.Now()
		var asking errgroup.Group
		asking.SetLimit(askers)
		for _, e := range all {
			asking.Go(func() error {
				if answer := p.check.Again(ctx, e.request); ctx.Err() == nil { // else it may be for want of waiting
					p.hold(e, answer)
				}
				return nil
			})
		}
		_ = asking.Wait() // they return none
		rest(ctx, began)
	}
}

// hold holds an answer against e: unless it lets in, e ends.
func (p *Proxy) hold(e *exchange, answer front.Answer) {
	if !answer.Allowed() && e.end(goodbye{code: codePolicy, reason: answer.Decision.Description()}, &refusal{answer}) {
		p.metrics.ended(answer.Decision.Reason)
	}
}

// finish ends all tunnels and waits for them. Other requests are the server's to drain.
func (p *Proxy) finish() {
	p.live.close()
	for _, e := range p.live.lasting(time.Time{}) {
		e.end(goodbye{code: codeGoingAway}, errClosing)
	}
	wait := time.NewTimer(endWithin)
	defer wait.Stop()
	select {
	case <-p.live.empty:
	case <-wait.C:
	}
}
