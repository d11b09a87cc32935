package scenario

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/loadtest/internal/token"
)

// Known is a token of which is known what becomes of it.
type Known struct {
	Token token.Token
	Class Class
	// What says more of garbage.
	What string
	// ID is its `jti` and Until its end, for whoever revokes it.
	ID    string
	Until time.Time
	// Fate is what a revocation during the load makes of it; nil if there will be none.
	Fate *Fate
}

// Fate is a token's or a session's revocation, while others ask about it. The zero Fate
// is that of one that nobody revokes. Safe for concurrent use.
type Fate struct{ asked, receipt atomic.Pointer[time.Time] }

// Ask notes that the revocation is about to be asked for.
func (f *Fate) Ask() {
	now := time.Now()
	f.asked.Store(&now)
}

// Acknowledge notes that it was acknowledged.
func (f *Fate) Acknowledge() {
	now := time.Now()
	f.receipt.Store(&now)
}

// Verdict is what an answer was worth.
type Verdict struct {
	// Want is the status that would have been right; the answer's own if either was.
	Want int
	// Exposed is how long after the receipt of its revocation a request was sent that
	// passed; 0 for all others.
	Exposed time.Duration
}

// Judge holds an answer against what is known. A token that is being revoked may pass or
// not from when that is asked for, until it is acknowledged and the bound on exposure is
// over: what was sent after that must not. A request is judged by when it was sent, so
// that none counts as exposed that may have been decided earlier. Pass is the status of
// what passes.
func (k Known) Judge(sent, done time.Time, status, pass int, bound time.Duration) Verdict {
	switch {
	case k.Class == Revoked || k.Class == Garbage:
		return Verdict{Want: http.StatusUnauthorized}
	case k.Fate == nil:
		return Verdict{Want: pass}
	}
	// The order matters: what is asked for after the answer came did not change it.
	receipt, asked := k.Fate.receipt.Load(), k.Fate.asked.Load()
	switch {
	case asked == nil || asked.After(done):
		return Verdict{Want: pass}
	case status != pass:
		return Verdict{Want: http.StatusUnauthorized}
	case receipt == nil || !sent.After(*receipt):
		return Verdict{Want: pass}
	}
	v := Verdict{Want: pass, Exposed: sent.Sub(*receipt)}
	if v.Exposed > bound {
		v.Want = http.StatusUnauthorized
	}
	return v
}

// Tally counts verdicts.
type Tally struct {
	// Asked is how many answers there were by class.
	Asked [classes]int64
	// LetThrough passed and must not have, TurnedAway the other way round, with 401 or 403.
	LetThrough, TurnedAway int64
	// Exposed passed after their revocation's receipt, and Worst is how long after it.
	Exposed int64
	Worst   time.Duration
	// Exhausted says that the load ended early, for there was no cold token left.
	Exhausted bool
}

// Count adds one answer.
func (t *Tally) Count(c Class, status, pass int, v Verdict) {
	t.Asked[c]++
	if v.Exposed > 0 {
		t.Exposed++
		t.Worst = max(t.Worst, v.Exposed)
	}
	switch status {
	case v.Want:
	case pass:
		t.LetThrough++
	case http.StatusUnauthorized, http.StatusForbidden:
		t.TurnedAway++
	}
}

// Add adds another's counts.
func (t *Tally) Add(other Tally) {
	for c := range classes {
		t.Asked[c] += other.Asked[c]
	}
	t.LetThrough += other.LetThrough
	t.TurnedAway += other.TurnedAway
	t.Exposed += other.Exposed
	t.Worst = max(t.Worst, other.Worst)
	t.Exhausted = t.Exhausted || other.Exhausted
}
