package scenario

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/token"
)

// fake is a front that lets tokens pass whose text begins with good, counts what it is
// asked, and may be made to be wrong.
type fake struct {
	asked atomic.Int64
	// lets, if there is one, overrides what passes.
	lets func(raw string) bool

	mu  sync.Mutex
	saw map[string]int
}

func (f *fake) Ask(_ context.Context, t token.Token) (int, error) {
	f.asked.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.saw == nil {
		f.saw = map[string]int{}
	}
	f.saw[t.Raw()]++
	passes := strings.HasPrefix(t.Raw(), "good")
	if f.lets != nil {
		passes = f.lets(t.Raw())
	}
	if passes {
		return http.StatusOK, nil
	}
	return http.StatusUnauthorized, nil
}

func (*fake) Close() error { return nil }

// broken never answers.
type broken struct{ error }

func (b broken) Ask(context.Context, token.Token) (int, error) { return 0, b.error }
func (broken) Close() error                                    { return nil }

func knowing(class Class, raw ...string) []Known {
	all := make([]Known, len(raw))
	for n, one := range raw {
		all[n] = Known{Token: token.New(one), Class: class, What: map[bool]string{true: one}[class == Garbage]}
		if class == Good {
			all[n].Fate = new(Fate)
		}
	}
	return all
}

func verify(t *testing.T, f *fake, s Shares) Verify {
	t.Helper()
	v := Verify{
		Front: f, Name: "the fake", Pass: http.StatusOK, Bound: time.Second, Rate: 2000, Workers: 4, Patience: time.Minute, Seed: 1, Duration: 500 * time.Millisecond,
		Tokens: Tokens{Good: knowing(Good, "good-1", "good-2", "good-3"), Revoked: knowing(Revoked, "revoked-1", "revoked-2"), Garbage: knowing(Garbage, "broken")},
	}
	var err error
	if v.Deck, err = NewDeck(s, 0, 3, 2, 1, 1); err != nil {
		t.Fatal(err)
	}
	for range v.Deck.Colds(Arrivals(v.Rate, v.Duration)) {
		v.Tokens[Cold] = append(v.Tokens[Cold], knowing(Cold, "good-cold-"+string(rune('a'+len(v.Tokens[Cold]))))...)
	}
	return v
}

func run(ctx context.Context, v Verify) (measure.Summary, Tally) {
	began := time.Now()
	r := measure.New(began.Add(v.WarmUp))
	tally := v.Run(ctx, began, r)
	return r.Summary(), tally
}

// What the client counts is what the front saw, in the shares asked for, and a right front
// is right.
func TestVerify(t *testing.T) {
	f := &fake{}
	v := verify(t, f, Shares{Cold: 0.1, Revoked: 0.2, Garbage: 0.1})
	s, tally := run(t.Context(), v)
	if s.Due == 0 || s.Due != f.asked.Load() || s.Answered != s.Due || s.Errors() != 0 {
		t.Errorf("%d due, %d answered, %d asked, %d errors", s.Due, s.Answered, f.asked.Load(), s.Errors())
	}
	var all int64
	for class, share := range map[Class]float64{Good: 0.6, Cold: 0.1, Revoked: 0.2, Garbage: 0.1} {
		got := float64(tally.Asked[class]) / float64(s.Due)
		if got < share-0.05 || got > share+0.05 {
			t.Errorf("%s: %.3f of all, want %.1f", class, got, share)
		}
		all += tally.Asked[class]
	}
	if all != s.Due || tally.LetThrough != 0 || tally.TurnedAway != 0 || tally.Exposed != 0 || tally.Exhausted {
		t.Errorf("%+v of %d", tally, s.Due)
	}
	for raw, n := range f.saw {
		if strings.HasPrefix(raw, "good-cold") && n != 1 {
			t.Errorf("%s was asked about %d times", raw, n)
		}
	}
	if s.Service.Max() > s.Latency.Max() || s.Latency.Count() != s.Due {
		t.Errorf("service %s, latency %s", s.Service.Max(), s.Latency.Max())
	}
}

// A front that is wrong, either way, is found out.
func TestVerifyFindsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		lets       func(string) bool
		let, turns bool
	}{
		"one revoked token passes":    {func(raw string) bool { return strings.HasPrefix(raw, "good") || raw == "revoked-2" }, true, false},
		"garbage passes":              {func(raw string) bool { return strings.HasPrefix(raw, "good") || raw == "broken" }, true, false},
		"one good token is refused":   {func(raw string) bool { return strings.HasPrefix(raw, "good") && raw != "good-2" }, false, true},
		"tokens are refused at first": {func(raw string) bool { return strings.HasPrefix(raw, "good") && !strings.Contains(raw, "cold") }, false, true},
	} {
		s, tally := run(t.Context(), verify(t, &fake{lets: c.lets}, Shares{Cold: 0.1, Revoked: 0.2, Garbage: 0.1}))
		if (tally.LetThrough > 0) != c.let || (tally.TurnedAway > 0) != c.turns || s.Errors() != tally.LetThrough+tally.TurnedAway {
			t.Errorf("%s: %+v, %d errors", name, tally, s.Errors())
		}
	}
}

// The warm-up is not measured, and what it shows is held against the front all the same.
func TestWarmUpIsJudgedButNotMeasured(t *testing.T) {
	f := &fake{}
	began := time.Now()
	f.lets = func(raw string) bool {
		return strings.HasPrefix(raw, "good") || raw == "broken" && time.Since(began) < 100*time.Millisecond
	}
	v := verify(t, f, Shares{Garbage: 0.2})
	v.WarmUp, v.Duration = v.Duration, v.Duration/2
	s, tally := run(t.Context(), v)
	if s.Due == 0 || s.Due >= f.asked.Load() || s.Errors() != 0 || tally.LetThrough == 0 {
		t.Errorf("measured %d of %d, %d errors, %+v", s.Due, f.asked.Load(), s.Errors(), tally)
	}
}

// As fast as it answers: until the time is over, or there is no cold token left.
func TestVerifyAtMost(t *testing.T) {
	v := verify(t, &fake{}, Shares{})
	v.Rate, v.Duration = 0, 50*time.Millisecond
	s, tally := run(t.Context(), v)
	if s.Answered < 1000 || tally.Asked[Good] != s.Answered || s.StartDelay.Max() > s.Latency.Max() || tally.Exhausted {
		t.Errorf("%d answered, %+v", s.Answered, tally)
	}
	v = verify(t, &fake{}, Shares{Cold: 0.5})
	v.Rate, v.Duration, v.Tokens[Cold] = 0, time.Hour, v.Tokens[Cold][:400]
	if s, tally = run(t.Context(), v); tally.Asked[Cold] < 300 || tally.Asked[Cold] > 400 || !tally.Exhausted || s.Errors() != 0 {
		t.Errorf("%+v", tally)
	}
}

// An interruption ends a run of an hour, and what was sent is counted.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := &fake{}
	f.lets = func(string) bool {
		if f.asked.Load() == 20 {
			cancel()
		}
		return true
	}
	v := verify(t, f, Shares{})
	v.Duration = time.Hour
	if s, _ := run(ctx, v); s.Answered != f.asked.Load() || s.Answered < 20 || len(s.Failures) != 0 {
		t.Errorf("%d asked, %+v", f.asked.Load(), s)
	}
}

func TestProbe(t *testing.T) {
	good := func(raw string) bool { return strings.HasPrefix(raw, "good") }
	for says, lets := range map[string]func(string) bool{
		"": good,
		"401 Unauthorized to the first good token, want 200": func(string) bool { return false },
		"200 OK to the first revoked token, want 401":        func(raw string) bool { return good(raw) || raw == "revoked-1" },
		"200 OK to the token that is broken, want 401":       func(raw string) bool { return good(raw) || raw == "broken" },
	} {
		v := verify(t, &fake{lets: lets}, Shares{})
		v.Tokens[Cold] = knowing(Cold, "bad-cold") // which is not asked about
		err := v.Probe(t.Context())
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("want %q: %v", says, err)
		}
		if err != nil && (strings.Contains(err.Error(), "good-1") || strings.Contains(err.Error(), "revoked-1")) {
			t.Errorf("a token shows: %v", err)
		}
	}
	v := verify(t, &fake{}, Shares{})
	v.Front = broken{context.DeadlineExceeded}
	if err := v.Probe(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the fake") {
		t.Errorf("nobody answers: %v", err)
	}
}

// What was revoked is waited for, all of it, and not for ever.
func TestSettle(t *testing.T) {
	f := &fake{}
	f.lets = func(raw string) bool { return raw == "revoked-2" && f.asked.Load() < 5 }
	v := verify(t, f, Shares{})
	if err := v.Settle(t.Context()); err != nil || f.asked.Load() != 5 {
		t.Errorf("asked %d times, %v", f.asked.Load(), err)
	}
	f.lets = func(string) bool { return true }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := v.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "revoked token 1 of 2") {
		t.Errorf("it never is: %v", err)
	}
	v.Front = broken{context.Canceled}
	if err := v.Settle(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody answers: %v", err)
	}
}

// Tokens are revoked while others are asked about, each once, and the load knows.
func TestRevokeMeanwhile(t *testing.T) {
	var mu sync.Mutex
	revoked := map[string]bool{}
	is := func(raw string) bool {
		mu.Lock()
		defer mu.Unlock()
		return revoked[raw]
	}
	var first atomic.Bool
	victims := make([]string, 26)
	for n := range victims {
		victims[n] = "good-" + string(rune('a'+n))
	}
	v := verify(t, &fake{lets: func(raw string) bool { return !is(raw) }}, Shares{})
	v.Tokens[Good] = knowing(Good, victims...)
	var err error
	if v.Deck, err = NewDeck(Shares{}, 0, len(victims), 0, 0, 1); err != nil {
		t.Fatal(err)
	}
	revoke := Revoke{
		Victims: Shuffled(v.Tokens[Good], 1), Rate: 100, Duration: v.Duration, Workers: 2, Seed: 1,
		Do: func(_ context.Context, k Known) error {
			if first.CompareAndSwap(false, true) {
				return context.DeadlineExceeded // it has no receipt, and is not revoked
			}
			mu.Lock()
			defer mu.Unlock()
			if revoked[k.Token.Raw()] {
				t.Error("revoked twice")
			}
			revoked[k.Token.Raw()] = true
			return nil
		},
	}
	began := time.Now()
	receipts := measure.New(began)
	var meanwhile sync.WaitGroup
	meanwhile.Go(func() { revoke.Run(t.Context(), began, receipts) })
	s, tally := run(t.Context(), v)
	meanwhile.Wait()
	if s.Errors() != 0 || tally.Exposed != 0 || s.Statuses[http.StatusUnauthorized] == 0 {
		t.Errorf("%+v, %+v", tally, s)
	}
	if got := receipts.Summary(); got.Answered != int64(len(revoked)) || got.Failures[measure.Timeout] != 1 || got.Errors() != 1 {
		t.Errorf("%d revoked, %+v", len(revoked), got)
	}
}
