package faults

import (
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// token is an access token with what the ledger knows of it.
type token struct {
	raw, jti, sid, sub, client, kid string
	expires                         time.Time
	// began is when its session's login was asked for, got when its mint was answered.
	began, got time.Time

	// may is when the first revocation that could deny it was asked for, must when the
	// first that has to was acknowledged; zero for none.
	may, must time.Time
	// denied is what each sidecar has said already.
	denied map[*sidecar]denial
}

// denial is an answer that a life of a sidecar's process cannot take back.
type denial struct {
	life int64
	at   time.Time
}

// revocation is one that was asked for.
type revocation struct {
	kind, id string
	asked    time.Time
	// ended is when the answer came, acked whether it was an acknowledgement.
	ended time.Time
	acked bool
	// lost: the feed no longer has it, so only who had it before enforces it.
	lost bool
}

func (r *revocation) wide() bool { return r.kind == "subject" || r.kind == "client" || r.kind == "all" }

func (r *revocation) names(t *token) bool {
	switch r.kind {
	case "token":
		return r.id == t.jti
	case "session":
		return r.id == t.sid
	case "subject":
		return r.id == t.sub
	case "client":
		return r.id == t.client
	case "key":
		return r.id == t.kid
	}
	return true
}

// may reports whether r could deny t: a cut lies somewhere between the question and
// the answer, and spares the sessions behind it.
func (r *revocation) may(t *token) bool {
	return r.names(t) && (!r.wide() || r.ended.IsZero() || t.began.Before(r.ended))
}

// must reports whether r has to deny t.
func (r *revocation) must(t *token) bool {
	return r.names(t) && r.acked && !r.lost && (!r.wide() || t.got.Before(r.asked))
}

// answer is what a sidecar said to one request.
type answer struct {
	status  int // 0: nothing
	revoked bool
	// untimely: denied as expired or not valid yet.
	untimely bool
	// freshAsOf is what it claims; zero for nothing.
	freshAsOf    time.Time
	began, ended time.Time
	life         int64 // of the process, zero if it changed meanwhile
	body         string
}

// ledger is safe for concurrent use.
type ledger struct {
	mu          sync.Mutex
	tokens      []*token
	revocations []*revocation
	kids        map[string]time.Time // when a signing key was first seen
	faults      []string             // promises broken
	verdicts    map[string]map[int]int
	kinds       map[string]int
	unacked     int
	unnoticed   int // see sidecar.unnoticed
}

func newLedger() *ledger {
	return &ledger{kids: map[string]time.Time{}, verdicts: map[string]map[int]int{}, kinds: map[string]int{}}
}

// broken notes a promise that was not kept.
func (l *ledger) broken(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(format, args...)
}

const mostFaults = 20

func (l *ledger) note(format string, args ...any) {
	if len(l.faults) < mostFaults {
		l.faults = append(l.faults, time.Now().UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

func (l *ledger) faulty() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.faults)
}

// add takes in a token that was minted.
func (l *ledger) add(t *token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.denied = map[*sidecar]denial{}
	if _, ok := l.kids[t.kid]; !ok {
		l.kids[t.kid] = time.Now()
	}
	for _, r := range l.revocations {
		t.hold(r)
	}
	l.tokens = append(l.tokens, t)
}

// hold notes what r means to t.
func (t *token) hold(r *revocation) {
	if r.may(t) && (t.may.IsZero() || r.asked.Before(t.may)) {
		t.may = r.asked
	}
	if r.must(t) && (t.must.IsZero() || r.ended.Before(t.must)) {
		t.must = r.ended
	}
}

// ask notes that r is about to be asked for.
func (l *ledger) ask(kind, id string) *revocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &revocation{kind: kind, id: id, asked: time.Now()}
	l.revocations = append(l.revocations, r)
	for _, t := range l.tokens {
		t.hold(r)
	}
	return r
}

// end notes how r was answered.
func (l *ledger) end(r *revocation, acked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.ended, r.acked = time.Now(), acked
	if !acked {
		l.unacked++
		return
	}
	l.kinds[r.kind]++
	for _, t := range l.tokens {
		t.hold(r)
	}
}

// lose notes that the feed has forgotten what it knew: nobody who comes later can
// enforce it.
func (l *ledger) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.revocations {
		r.lost = true
	}
	for _, t := range l.tokens {
		t.must = time.Time{}
	}
}

// margin is how long before its expiry a token is let go: what is asked now may be
// answered after a SIGSTOP.
const margin = 45 * time.Second

// kept is how many tokens of a kind are asked for, the newest, and of what is older one in
// thinned, for as long as it lives: a sidecar that forgets does so late.
const (
	kept    = 400
	thinned = 8
)

// old reports whether the token is one of those that are asked for to the end.
func (t *token) old() bool { return crc32.ChecksumIEEE([]byte(t.jti))%thinned == 0 }

// tidy lets go of what is about to expire, and of what was asked for long enough.
func (l *ledger) tidy() {
	l.mu.Lock()
	defer l.mu.Unlock()
	horizon, revoked, other := time.Now().Add(margin), 0, 0
	for i, t := range slices.Backward(l.tokens) {
		n := &other
		if !t.must.IsZero() {
			n = &revoked
		}
		if *n++; *n > kept && !t.old() || t.expires.Before(horizon) {
			l.tokens[i] = nil
		}
	}
	l.tokens = slices.DeleteFunc(l.tokens, func(t *token) bool { return t == nil })
	old := time.Now().Add(-10 * time.Minute) // no token is so old
	l.revocations = slices.DeleteFunc(l.revocations, func(r *revocation) bool { return !r.ended.IsZero() && r.ended.Before(old) })
}

// pick gives some token: half the time one that must be denied, mostly a recent one.
func (l *ledger) pick() *token {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tokens) == 0 {
		return nil
	}
	revoked := rand.IntN(2) == 0
	for range 8 {
		t := l.tokens[len(l.tokens)-1-rand.IntN(1+rand.IntN(len(l.tokens)))]
		if t.must.IsZero() != revoked {
			return t
		}
	}
	return l.tokens[rand.IntN(len(l.tokens))]
}

// good gives the newest token that nothing could deny.
func (l *ledger) good() *token {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range slices.Backward(l.tokens) {
		if t.may.IsZero() && time.Since(t.got) > 100*time.Millisecond {
			return t
		}
	}
	return nil
}

// lives reports whether nothing could deny t so far.
func (l *ledger) lives(t *token) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return t.may.IsZero()
}

// seen is when the token's key was first seen.
func (l *ledger) seen(t *token) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kids[t.kid]
}

// all gives every token that is still asked for, those that must be denied apart.
func (l *ledger) all() (revoked, good []*token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.tokens {
		switch {
		case !t.must.IsZero():
			revoked = append(revoked, t)
		case t.may.IsZero():
			good = append(good, t)
		}
	}
	return revoked, good
}

// judge holds an answer about t to what it claims. strict is true after a round, when
// the claim must reach beyond every acknowledgement.
func (l *ledger) judge(s *sidecar, t *token, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.verdicts[s.Name] == nil {
		l.verdicts[s.Name] = map[int]int{}
	}
	l.verdicts[s.Name][a.status]++
	about := func() string {
		ago := func(at time.Time) string {
			if at.IsZero() {
				return "never"
			}
			return at.UTC().Format("15:04:05.000")
		}
		return fmt.Sprintf("%s answers %d %q to jti %s (sid %s kid %.8s): request %s to %s, fresh as of %s, minted %s, perhaps revoked %s, revocation acknowledged %s",
			s.Name, a.status, a.body, t.jti, t.sid, t.kid, ago(a.began), ago(a.ended), ago(a.freshAsOf), ago(t.got), ago(t.may), ago(t.must))
	}
	switch a.status {
	case 200:
		if before, ok := t.denied[s]; ok && a.life != 0 && before.life == a.life && before.at.Before(a.began) {
			l.note("denied once and allowed by the same process: %s", about())
		} else if !t.must.IsZero() && !a.freshAsOf.Before(t.must) {
			l.note("revoked and allowed: %s", about())
		}
		if a.began.After(a.freshAsOf.Add(s.limit()+slack)) && !s.clockOff() {
			l.note("allowed by a view too old for the policy: %s", about())
		}
	case 401:
		switch {
		case s.unnoticed(a):
			l.unnoticed++
		case t.may.IsZero() || t.may.After(a.ended):
			l.note("denied, and nobody revoked it: %s", about())
		case a.revoked && a.life != 0 && t.denied[s].life != a.life:
			t.denied[s] = denial{a.life, a.ended}
		}
	case 503:
		if !s.mayRefuse(a, l.kids[t.kid]) {
			l.note("503 without need: %s", about())
		}
	case 0: // nobody was there, or nobody in time
	default:
		l.note("an answer that fits nothing: %s", about())
	}
}

// slack is what clocks and scheduling may take from what is exact otherwise.
const slack = 250 * time.Millisecond

// report sums up.
func (l *ledger) report() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	total, requests := 0, 0
	for _, n := range l.kinds {
		total += n
	}
	for _, name := range slices.Sorted(maps.Keys(l.verdicts)) {
		fmt.Fprintf(&b, "; %s", name)
		for _, status := range slices.Sorted(maps.Keys(l.verdicts[name])) {
			n := l.verdicts[name][status]
			requests += n
			what := fmt.Sprint(status)
			if status == 0 {
				what = "no answer"
			}
			fmt.Fprintf(&b, " %s: %d", what, n)
		}
	}
	return fmt.Sprintf("%d revocations acknowledged %v and %d not, %d requests judged%s; %d of the denials by a clock that was wrong from the start",
		total, l.kinds, l.unacked, requests, b.String(), l.unnoticed)
}
