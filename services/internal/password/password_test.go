package password

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// cheap keeps the tests quick; TestDefaults looks at the real parameters.
func cheap() Config { return Config{Memory: 64, Time: 1} }

func newHasher(t *testing.T, cfg Config) *Hasher {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestDefaults(t *testing.T) {
	h := newHasher(t, Config{})
	phc, err := h.Hash(t.Context(), "wonderland-42")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q lacks OWASP's parameters", phc)
	}
	got, err := h.Verify(t.Context(), phc, "wonderland-42")
	if err != nil || !got {
		t.Errorf("verified as %t, %v", got, err)
	}
}

func TestVerify(t *testing.T) {
	h := newHasher(t, cheap())
	phc, err := h.Hash(t.Context(), "wonderland-42")
	if err != nil {
		t.Fatal(err)
	}
	longest := strings.Repeat("x", MaxLength)
	phcLongest, err := h.Hash(t.Context(), longest)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		phc, password string
		want          bool
	}{
		"right":                          {phc, "wonderland-42", true},
		"wrong":                          {phc, "wonderland-43", false},
		"prefix":                         {phc, "wonderland-4", false},
		"with a NUL behind":              {phc, "wonderland-42\x00", false},
		"other case":                     {phc, "Wonderland-42", false},
		"empty":                          {phc, "", false},
		"longest":                        {phcLongest, longest, true},
		"longer than any":                {phcLongest, longest + "x", false},
		"no user":                        {"", "wonderland-42", false},
		"no user, no password":           {"", "", false},
		"no user, the dummy's own bytes": {"", strings.Repeat("\x00", sumSize), false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := h.Verify(t.Context(), c.phc, c.password)
			if err != nil || got != c.want {
				t.Errorf("got %t, %v; want %t", got, err, c.want)
			}
		})
	}
}

// A hash made elsewhere with other sizes and parameters, by the reference tool.
func TestVerifyForeignHash(t *testing.T) {
	h := newHasher(t, cheap())
	const phc = "$argon2id$v=19$m=256,t=3,p=2$c29tZXNhbHQxMg$BCnuXwHDJxy+nGl97Yf+yWsiW7llVBko"
	got, err := h.Verify(t.Context(), phc, "password")
	if err != nil || !got {
		t.Errorf("got %t, %v", got, err)
	}
	if got, err := h.Verify(t.Context(), phc, "passwort"); err != nil || got {
		t.Errorf("wrong password: got %t, %v", got, err)
	}
}

func TestHashRefusesLengths(t *testing.T) {
	h := newHasher(t, cheap())
	for _, p := range []string{"", strings.Repeat("x", MaxLength+1)} {
		if phc, err := h.Hash(t.Context(), p); !errors.Is(err, ErrLength) || phc != "" {
			t.Errorf("%d bytes: %q, %v", len(p), phc, err)
		}
	}
}

func TestSaltsDiffer(t *testing.T) {
	h := newHasher(t, cheap())
	a, errA := h.Hash(t.Context(), "same")
	b, errB := h.Hash(t.Context(), "same")
	if errA != nil || errB != nil || a == b {
		t.Errorf("%q, %v and %q, %v", a, errA, b, errB)
	}
}

func TestStoredHashesAreBounded(t *testing.T) {
	h := newHasher(t, cheap())
	const salt, sum = "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	with := func(head string) string { return head + "$" + salt + "$" + sum }
	if err := Check(with("$argon2id$v=19$m=64,t=1,p=1")); err != nil {
		t.Fatalf("the pattern itself is refused: %v", err)
	}
	for name, phc := range map[string]string{
		"not a hash":           "wonderland-42",
		"argon2i":              with("$argon2i$v=19$m=64,t=1,p=1"),
		"bcrypt":               "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"older version":        with("$argon2id$v=16$m=64,t=1,p=1"),
		"no version":           with("$argon2id$m=64,t=1,p=1"),
		"memory beyond bounds": with("$argon2id$v=19$m=262145,t=1,p=1"),
		"memory that wraps":    with("$argon2id$v=19$m=4294967360,t=1,p=1"),
		"time beyond bounds":   with("$argon2id$v=19$m=64,t=17,p=1"),
		"lanes beyond bounds":  with("$argon2id$v=19$m=4096,t=1,p=17"),
		"lanes that wrap":      with("$argon2id$v=19$m=64,t=1,p=257"),
		"too little memory":    with("$argon2id$v=19$m=7,t=1,p=1"),
		"no passes":            with("$argon2id$v=19$m=64,t=0,p=1"),
		"no lanes":             with("$argon2id$v=19$m=64,t=1,p=0"),
		"leading zero":         with("$argon2id$v=19$m=064,t=1,p=1"),
		"sign":                 with("$argon2id$v=19$m=+64,t=1,p=1"),
		"another order":        with("$argon2id$v=19$t=1,m=64,p=1"),
		"a parameter more":     with("$argon2id$v=19$m=64,t=1,p=1,keyid=AA"),
		"a parameter less":     with("$argon2id$v=19$m=64,t=1"),
		"text before":          " " + with("$argon2id$v=19$m=64,t=1,p=1"),
		"line break behind":    with("$argon2id$v=19$m=64,t=1,p=1") + "\n",
		"part behind":          with("$argon2id$v=19$m=64,t=1,p=1") + "$",
		"no salt":              "$argon2id$v=19$m=64,t=1,p=1$$" + sum,
		"short salt":           "$argon2id$v=19$m=64,t=1,p=1$AAAAAAA$" + sum,
		"no sum":               "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$",
		"short sum":            "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$AAAA",
		"long sum":             "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + strings.Repeat("A", 88),
		"padded":               "$argon2id$v=19$m=64,t=1,p=1$" + salt + "==$" + sum,
		"unused bits set":      "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAB$" + sum,
		"endless":              with("$argon2id$v=19$m=64,t=1,p=1") + strings.Repeat("A", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := h.Verify(t.Context(), phc, "wonderland-42")
			if !errors.Is(err, ErrHash) || got {
				t.Errorf("got %t, %v", got, err)
			}
			if !errors.Is(Check(phc), ErrHash) {
				t.Error("Check accepts what Verify refuses")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parse(s)
		if err == nil && h.String() != s {
			t.Fatalf("%q has a second spelling %q", h.String(), s)
		}
		if err == nil && (h.memory > maxMemory || h.time > maxTime || h.lanes > maxLanes || len(h.sum) > maxSum) {
			t.Fatalf("%q is beyond bounds", s)
		}
	})
}

func TestOutdated(t *testing.T) {
	older, newer := newHasher(t, cheap()), newHasher(t, Config{Memory: 128, Time: 1})
	phc, err := older.Hash(t.Context(), "wonderland-42")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		hasher *Hasher
		phc    string
		want   bool
	}{
		"current":          {older, phc, false},
		"other parameters": {newer, phc, true},
		"short salt":       {older, "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", true},
		"short sum":        {older, "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", true},
		"no hash":          {older, "", true},
	} {
		if got := c.hasher.Outdated(c.phc); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if ok, err := newer.Verify(t.Context(), phc, "wonderland-42"); err != nil || !ok {
		t.Errorf("an outdated hash verifies as %t, %v", ok, err)
	}
}

// A user who does not exist must cost what a user with a current hash costs.
func TestNoUserCostsTheSame(t *testing.T) {
	h := newHasher(t, Config{Memory: 128, Time: 3, Lanes: 2})
	phc, err := h.Hash(t.Context(), "wonderland-42")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := parse(phc)
	if err != nil {
		t.Fatal(err)
	}
	if d := h.dummy; d.params != stored.params || len(d.salt) != len(stored.salt) || len(d.sum) != len(stored.sum) {
		t.Errorf("no user costs %+v, a user %+v", d.params, stored.params)
	}
}

// Even a password that fits the stand-in is nobody's.
func TestNoUserNeverMatches(t *testing.T) {
	h := newHasher(t, cheap())
	phc, err := h.Hash(t.Context(), "wonderland-42")
	if err != nil {
		t.Fatal(err)
	}
	if h.dummy, err = parse(phc); err != nil {
		t.Fatal(err)
	}
	if ok, err := h.Verify(t.Context(), "", "wonderland-42"); ok || err != nil {
		t.Errorf("got %t, %v", ok, err)
	}
}

// Whoever comes when all places and the queue are taken is told at once; those who
// wait leave when their context ends, and their place with them.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, Config{Memory: 64, Time: 1, Concurrency: 2, Queue: 1})
		h.admitted <- struct{}{}
		h.admitted <- struct{}{}
		h.running <- struct{}{}
		h.running <- struct{}{}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		defer wg.Wait()
		var waited error
		wg.Go(func() { _, waited = h.Hash(ctx, "waits") })
		synctest.Wait()

		if _, err := h.Hash(t.Context(), "refused"); !errors.Is(err, ErrBusy) {
			t.Errorf("beyond the queue: %v", err)
		}
		if got, err := h.Verify(t.Context(), "", "refused"); !errors.Is(err, ErrBusy) || got {
			t.Errorf("beyond the queue: %t, %v", got, err)
		}
		wg.Wait()
		if !errors.Is(waited, context.DeadlineExceeded) {
			t.Errorf("the waiting caller got %v", waited)
		}
		if len(h.admitted) != 2 {
			t.Errorf("%d places taken, want the 2 that the test took", len(h.admitted))
		}

		<-h.running
		<-h.admitted
		if _, err := h.Hash(t.Context(), "now"); err != nil {
			t.Errorf("with a place free: %v", err)
		}
		if len(h.running) != 1 || len(h.admitted) != 1 {
			t.Errorf("%d running and %d admitted are left, want 1 and 1", len(h.running), len(h.admitted))
		}
	})
}

func TestEndedContextNeverHashes(t *testing.T) {
	h := newHasher(t, cheap())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		if _, err := h.Hash(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Fatalf("hashed: %v", err)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	h := newHasher(t, Config{Memory: 64, Time: 1, Concurrency: 2, Queue: 100})
	phc, err := h.Hash(t.Context(), "wonderland-42")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			word, want := "wonderland-42", true
			if i%2 == 1 {
				word, want = "wrong", false
			}
			if got, err := h.Verify(t.Context(), phc, word); err != nil || got != want {
				t.Errorf("got %t, %v; want %t", got, err, want)
			}
		})
	}
	wg.Wait()
}

func TestNewNamesEveryFault(t *testing.T) {
	_, err := New(Config{Memory: maxMemory + 1, Time: maxTime + 1, Lanes: maxLanes + 1, Concurrency: -1})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, word := range []string{"memory", "time", "lanes", "concurrency"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not name %s", err, word)
		}
	}
	if _, err := New(Config{Memory: 15, Lanes: 2}); err == nil {
		t.Error("less than 8 KiB a lane was accepted")
	}
	if h := newHasher(t, Config{Queue: -1, Concurrency: 3}); cap(h.admitted) != 3 {
		t.Errorf("without a queue %d are admitted, want 3", cap(h.admitted))
	}
}
