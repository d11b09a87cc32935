// Package front is what every front shares: it takes a request as a proxy, a gRPC
// call or a client has shown it, finds what is demanded of it, has its token judged,
// and words the answer. Fronts only translate: they have no code of their own for a
// decision.
//
// Invariants:
//
//   - The same request gets the same answer from every front.
//   - Identity is told only of a request that passes, and every identity header is
//     always named, empty where nothing is known, so that none of a client's own
//     survives where they are copied.
//   - An answer is given within a bound, whatever the store or the issuers' servers
//     do; beyond the requests that may be under way at once, it is 503 at once.
package front

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front/bearer"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/verify"
)

// Judge is the verifier behind the fronts.
type Judge interface {
	Judge(ctx context.Context, token string, ask gate.Ask) (verify.Claims, gate.Decision)
	Again(ctx context.Context, token string, ask gate.Ask) gate.Decision
	Refuse(o gate.Outcome) gate.Decision
	Waive() gate.Decision
}

// Config says how requests are answered.
type Config struct {
	// Realm is what challenges name: what is protected (RFC 9110 section 11.5), 1 to
	// 128 characters of ASCII without control characters.
	Realm string
	// Routes are what is demanded besides the policy; nil demands nothing.
	Routes *route.Table
	// Within bounds how long a request may wait, for the keys of its token's issuer
	// or for the disk. It must be more than nothing.
	Within time.Duration
	// MaxInFlight is how many requests may be under way at once, over all fronts;
	// at least 1.
	MaxInFlight int
}

// Defaults are the sidecar's, without routes.
func Defaults() Config {
	return Config{Realm: "revocast", Within: 400 * time.Millisecond, MaxInFlight: 4096}
}

// Checker answers requests. It is safe for concurrent use.
type Checker struct {
	realm    bearer.Realm
	routes   *route.Table
	judge    Judge
	within   time.Duration
	inFlight chan struct{}
}

// NewChecker makes a checker, or names every fault of cfg at once.
func NewChecker(cfg Config, judge Judge) (*Checker, error) {
	realm, err := bearer.NewRealm(cfg.Realm)
	faults := []error{err}
	if cfg.Within <= 0 {
		faults = append(faults, fmt.Errorf("bound of an answer %s: want more than nothing", cfg.Within))
	}
	if cfg.MaxInFlight < 1 {
		faults = append(faults, fmt.Errorf("requests under way %d: want at least 1", cfg.MaxInFlight))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if cfg.Routes == nil {
		cfg.Routes = &route.Table{}
	}
	return &Checker{realm: realm, routes: cfg.Routes, judge: judge, within: cfg.Within, inFlight: make(chan struct{}, cfg.MaxInFlight)}, nil
}

// Request is a request that a front asks about.
type Request struct {
	// Method, Host and Target are those that the application will see: the request
	// line's method, the Host field or `:authority`, and path and query. They matter
	// only where there are routes.
	Method, Host, Target string
	// Authorization are the values of its Authorization fields, in their order.
	Authorization []string
	// Ask is what whoever asks demands besides.
	Ask gate.Ask
	// Unreadable says that the front could not read what is demanded.
	Unreadable bool
}

// Check answers r.
func (c *Checker) Check(ctx context.Context, r Request) Answer {
	if !c.enter() {
		return c.answer(verify.Claims{}, c.judge.Refuse(gate.Overloaded))
	}
	defer c.leave()
	token, ask, decided := c.read(r)
	if decided != nil {
		return c.answer(verify.Claims{}, *decided)
	}
	wait := newPatience(ctx, c.within)
	defer wait.close()
	return c.answer(c.judge.Judge(wait, token, ask))
}

// Again answers r once more, which was let in for its token and lasts: what would
// become of it now. It knows no overload, is counted as no decision, and gives no
// claims.
func (c *Checker) Again(ctx context.Context, r Request) Answer {
	token, ask, decided := c.read(r)
	if decided != nil {
		return c.answer(verify.Claims{}, *decided)
	}
	wait := newPatience(ctx, c.within)
	defer wait.close()
	return c.answer(verify.Claims{}, c.judge.Again(wait, token, ask))
}

// Token answers who asks about a token, not about a request: only the policy counts.
func (c *Checker) Token(ctx context.Context, token string) Answer {
	if !c.enter() {
		return c.answer(verify.Claims{}, c.judge.Refuse(gate.Overloaded))
	}
	defer c.leave()
	wait := newPatience(ctx, c.within)
	defer wait.close()
	return c.answer(c.judge.Judge(wait, token, gate.Ask{}))
}

// enter takes a place among the requests under way, if there is one.
func (c *Checker) enter() bool {
	select {
	case c.inFlight <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *Checker) leave() { <-c.inFlight }

// read finds the token and what is demanded of it, or what decides without any.
func (c *Checker) read(r Request) (token string, ask gate.Ask, decided *gate.Decision) {
	decide := func(d gate.Decision) (string, gate.Ask, *gate.Decision) { return "", gate.Ask{}, &d }
	rule, err := c.routes.Find(r.Method, r.Host, r.Target)
	if err != nil || r.Unreadable {
		return decide(c.judge.Refuse(gate.Unreadable))
	}
	ask = r.Ask
	if rule != nil {
		if rule.Anonymous && !ask.Demands() {
			return decide(c.judge.Waive())
		}
		if ask = rule.Ask; r.Ask.Demands() {
			ask = ask.And(r.Ask)
		}
	}
	token, outcome := bearer.Credentials(r.Authorization)
	if outcome != gate.Unjudged {
		return decide(c.judge.Refuse(outcome))
	}
	return token, ask, nil
}

func (c *Checker) answer(claims verify.Claims, d gate.Decision) Answer {
	return Answer{Claims: claims, Decision: d, realm: c.realm}
}
