package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/services/internal/throttle"
)

func limit(t interface{ Fatal(...any) }, text string) throttle.Limit {
	var l throttle.Limit
	if err := l.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return l
}

// clock is a time that tests move by hand.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func draw(t *testing.T, s *throttle.Set, buckets ...throttle.Bucket) (throttle.Attempt, time.Duration) {
	t.Helper()
	a, err := s.Draw(t.Context(), buckets...)
	if err == nil {
		return a, 0
	}
	refusal, ok := errors.AsType[*throttle.Error](err)
	if !ok || refusal.After <= 0 {
		t.Fatalf("got %v", err)
	}
	return a, refusal.After
}

func TestLimit(t *testing.T) {
	for text, want := range map[string]string{"10/10m": "10/10m0s", "1/1s": "1/1s", "1000000/24h": "1000000/24h0m0s", "off": "off"} {
		if got := limit(t, text).String(); got != want {
			t.Errorf("%s: %s", text, got)
		}
		if again := limit(t, limit(t, text).String()); again != limit(t, text) {
			t.Errorf("%s: read back as %s", text, again)
		}
	}
	for _, text := range []string{"", "10", "10/", "/10m", "0/1m", "-1/1m", "1/0s", "1/999ms", "1/25h", "1000001/1m", "10/10", "Off", "10/10m/1", "1e1/1m"} {
		var l throttle.Limit
		if err := l.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was accepted as %s", text, l)
		}
	}
}

func TestZeroLimitAllowsNothing(t *testing.T) {
	s := throttle.New(time.Now)
	if _, after := draw(t, s, s.Table("none", throttle.Limit{}).Bucket("a")); after <= 0 {
		t.Error("an attempt was allowed")
	}
	if s.Count(s.Table("none", throttle.Limit{}).Bucket("a")) == nil {
		t.Error("a failure was counted")
	}
}

func TestOffAllowsAnything(t *testing.T) {
	s := throttle.New(time.Now)
	b := s.Table("off", throttle.Off()).Bucket("a")
	for range 1000 {
		a, after := draw(t, s, b)
		if after != 0 || s.Count(b) != nil || s.Empty(b) != nil {
			t.Fatal("refused")
		}
		a.Settle(true)
	}
}

// A bucket does what a dumb twin does that remembers every failure and lets go of one
// each time that one is due: and what a refusal says is true to the nanosecond.
func TestBucketIsItsTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		failures := rapid.IntRange(1, 5).Draw(rt, "failures")
		step := time.Duration(rapid.IntRange(1, 10).Draw(rt, "step")) * time.Second
		l := limit(rt, fmt.Sprintf("%d/%s", failures, step*time.Duration(failures)))
		c := &clock{time.Unix(1_800_000_000, 0)}
		s := throttle.New(c.now)
		b := s.Table("t", l).Bucket("key")
		level, since := 0, c.at // of the twin: failures remembered, and when the oldest began to be forgotten
		forget := func() {
			for level > 0 && c.at.Sub(since) >= step {
				level, since = level-1, since.Add(step)
			}
			if level == 0 {
				since = c.at
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"wait": func(rt *rapid.T) {
				c.at = c.at.Add(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "ms")) * time.Millisecond)
			},
			"fail": func(rt *rapid.T) {
				forget()
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // nothing is under way here, so nothing is waited for
				a, err := s.Draw(ctx, b)
				if (err == nil) != (level < failures) {
					rt.Fatalf("%d of %d failures, got %v", level, failures, err)
				}
				if err == nil {
					level++
					a.Settle(true)
					return
				}
				refusal, ok := errors.AsType[*throttle.Error](err)
				if want := since.Add(step).Sub(c.at); !ok || refusal.After != want || refusal.Table != "t" {
					rt.Fatalf("got %v, want %s", err, want)
				}
			},
			"count": func(rt *rapid.T) {
				forget()
				empty, refusal := s.Empty(b), s.Count(b)
				if (refusal == nil) != (level < failures) || (empty == nil) != (refusal == nil) {
					rt.Fatalf("%d of %d failures, got %v, %v", level, failures, refusal, empty)
				}
				if refusal == nil {
					level++
				}
			},
			"succeed": func(rt *rapid.T) {
				forget()
				if level < failures {
					a, err := s.Draw(t.Context(), b)
					if err != nil {
						rt.Fatal(err)
					}
					a.Settle(false)
				}
			},
		})
	})
}

// After the time that a refusal names, and not before, an attempt is allowed.
func TestAfterIsHonest(t *testing.T) {
	c := &clock{time.Now()}
	s := throttle.New(c.now)
	narrow, wide := s.Table("narrow", limit(t, "3/7m")), s.Table("wide", limit(t, "7/11m"))
	var waited int
	for range 200 {
		a, after := draw(t, s, narrow.Bucket("a", "b"), wide.Bucket("a"))
		if after == 0 {
			a.Settle(true)
			continue
		}
		waited++
		c.at = c.at.Add(after - 1)
		if _, early := draw(t, s, narrow.Bucket("a", "b"), wide.Bucket("a")); early != 1 {
			t.Fatalf("a nanosecond early: %s", early)
		}
		c.at = c.at.Add(1)
		a, after = draw(t, s, narrow.Bucket("a", "b"), wide.Bucket("a"))
		if after != 0 {
			t.Fatalf("then: %s", after)
		}
		a.Settle(true)
	}
	if waited == 0 {
		t.Error("never refused")
	}
}

// A refused attempt draws on none of its buckets.
func TestAllOrNone(t *testing.T) {
	s := throttle.New((&clock{time.Now()}).now)
	small, large := s.Table("small", limit(t, "1/1h")), s.Table("large", limit(t, "5/1h"))
	a, _ := draw(t, s, small.Bucket("x"), large.Bucket("x"))
	a.Settle(true)
	for range 100 {
		if _, after := draw(t, s, small.Bucket("x"), large.Bucket("x")); after == 0 {
			t.Fatal("allowed")
		}
	}
	for range 4 {
		a, after := draw(t, s, large.Bucket("x"))
		if after != 0 {
			t.Fatal("the refused ones drew")
		}
		a.Settle(true)
	}
	if _, after := draw(t, s, large.Bucket("x")); after == 0 {
		t.Error("the one that was allowed did not draw")
	}
}

func TestKeysAreTheirOwn(t *testing.T) {
	s := throttle.New((&clock{time.Now()}).now)
	one, other := s.Table("one", limit(t, "1/1h")), s.Table("other", limit(t, "1/1h"))
	for _, b := range []throttle.Bucket{
		one.Bucket("a", "b"), one.Bucket("ab"), one.Bucket("ab", ""), one.Bucket("", "ab"), one.Bucket(), one.Bucket(""),
		one.Bucket("1:a1:b"), other.Bucket("a", "b"),
	} {
		a, after := draw(t, s, b)
		if after != 0 {
			t.Errorf("%v is another's", b)
			continue
		}
		a.Settle(true)
	}
}

// A clock that is set back makes nobody wait longer than an empty bucket does.
func TestClockSetBack(t *testing.T) {
	c := &clock{time.Now().Round(0)}
	s := throttle.New(c.now)
	b := s.Table("t", limit(t, "2/1m")).Bucket("a")
	for range 2 {
		a, _ := draw(t, s, b)
		a.Settle(true)
	}
	c.at = c.at.Add(-24 * time.Hour)
	if _, after := draw(t, s, b); after != 30*time.Second {
		t.Errorf("wait for %s", after)
	}
}

// However many try at once, no more fail than the limit says, and none is made that
// was refused.
func TestParallelFailuresKeepTheLimit(t *testing.T) {
	s := throttle.New((&clock{time.Now()}).now)
	b := s.Table("t", limit(t, "10/1h")).Bucket("alice")
	var made, refused atomic.Int32
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			a, err := s.Draw(t.Context(), b)
			if err != nil {
				refused.Add(1)
				return
			}
			made.Add(1)
			runtime.Gosched()
			a.Settle(true)
		})
	}
	all.Wait()
	if made.Load() != 10 || refused.Load() != 190 {
		t.Errorf("%d made, %d refused", made.Load(), refused.Load())
	}
}

// And if they all succeed none is refused, however small the limit.
func TestParallelSuccessesAreNotRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := throttle.New(time.Now)
		b := s.Table("t", limit(t, "3/1h")).Bucket("alice")
		var underWay, most atomic.Int32
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				a, err := s.Draw(t.Context(), b)
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), underWay.Add(1)))
				time.Sleep(50 * time.Millisecond) // the bubble's
				underWay.Add(-1)
				a.Settle(false)
			})
		}
		all.Wait()
		if most.Load() != 3 {
			t.Errorf("%d at once", most.Load())
		}
	})
}

// Nobody waits for ever, and not many wait.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := throttle.New(time.Now)
		b := s.Table("t", limit(t, "1/1h")).Bucket("alice")
		hangs, _ := draw(t, s, b)
		began := time.Now()
		var atOnce, late atomic.Int32
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				_, err := s.Draw(t.Context(), b)
				if _, ok := errors.AsType[*throttle.Error](err); !ok {
					t.Errorf("got %v", err)
				}
				switch took := time.Since(began); {
				case took == 0:
					atOnce.Add(1)
				case took <= 10*time.Second:
					late.Add(1)
				default:
					t.Errorf("waited %s", took)
				}
			})
		}
		all.Wait()
		if atOnce.Load() != 744 || late.Load() != 256 {
			t.Errorf("%d refused at once, %d late", atOnce.Load(), late.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Draw(ctx, b); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller who left: %v", err)
		}
		hangs.Settle(false)
		if a, after := draw(t, s, b); after != 0 {
			t.Errorf("afterwards: %s", after)
		} else {
			a.Settle(true)
		}
	})
}

// A million keys take the memory of as many as the table holds, and what a table has
// let go of is full.
func TestMemoryIsBounded(t *testing.T) {
	const keys, perBucket = 1_000_000, 150
	s := throttle.New((&clock{time.Now()}).now)
	table := s.Table("t", limit(t, "1/24h"))
	before := heap()
	for n := range keys {
		a, after := draw(t, s, table.Bucket("user-"+strconv.Itoa(n)))
		if after != 0 {
			t.Fatalf("user %d waits %s", n, after)
		}
		a.Settle(true)
	}
	used := int(heap() - before)
	t.Logf("%d keys: %d bytes, %d for each of %d buckets", keys, used, used/throttle.Capacity, throttle.Capacity)
	if used > perBucket*throttle.Capacity {
		t.Errorf("%d bytes, want at most %d", used, perBucket*throttle.Capacity)
	}
	if _, after := draw(t, s, table.Bucket("user-"+strconv.Itoa(keys-1))); after == 0 {
		t.Error("the last one was forgotten")
	}
	if _, after := draw(t, s, table.Bucket("user-0")); after != 0 {
		t.Error("the first one was not")
	}
}

// Those who succeed leave nothing behind.
func TestSuccessTakesNoRoom(t *testing.T) {
	s := throttle.New((&clock{time.Now()}).now)
	table := s.Table("t", limit(t, "1/24h"))
	a, _ := draw(t, s, table.Bucket("alice"))
	a.Settle(true)
	for n := range 2 * throttle.Capacity {
		a, after := draw(t, s, table.Bucket(strconv.Itoa(n)))
		if after != 0 {
			t.Fatal("refused")
		}
		a.Settle(false)
	}
	if _, after := draw(t, s, table.Bucket("alice")); after == 0 {
		t.Error("others' successes made alice's failure forgotten")
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkDraw(b *testing.B) {
	s := throttle.New(time.Now)
	one, two, three := s.Table("a", throttle.Limit{Failures: 10, Per: time.Minute}),
		s.Table("b", throttle.Limit{Failures: 100, Per: time.Minute}), s.Table("c", throttle.Limit{Failures: 100, Per: time.Minute})
	b.ReportAllocs()
	for b.Loop() {
		name := strconv.Itoa(rand.IntN(1000))
		a, err := s.Draw(b.Context(), one.Bucket("192.0.2.1"), two.Bucket(name, "192.0.2.1"), three.Bucket(name))
		if err != nil {
			b.Fatal(err)
		}
		a.Settle(false)
	}
}
