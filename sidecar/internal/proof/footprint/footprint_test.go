//go:build linux

package footprint

import (
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/proof/spread"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

var (
	entriesFlag = flag.String("footprint.entries", "", "live revocations, by commas; empty for the usual numbers")
	runsFlag    = flag.Int("footprint.runs", 0, "cold and warm starts of each size; 0 for the usual number")
)

// sizes says how many entries, how often, and how many requests each sidecar serves.
func sizes(t *testing.T) (entries []int, runs, requests int) {
	t.Helper()
	list := "20000"
	runs, requests = 1, 2_000
	if os.Getenv("PROOF") == "full" {
		list, runs, requests = "1000000,10000000", 5, 200_000
	}
	if *entriesFlag != "" {
		list = *entriesFlag
	}
	if *runsFlag > 0 {
		runs = *runsFlag
	}
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 3 {
			t.Fatalf("-footprint.entries: %q is no number of entries", word)
		}
		entries = append(entries, n)
	}
	return entries, runs, requests
}

const (
	hot     = 1000 // tokens that pass
	callers = 4
	mega    = 1 << 20
)

// measured are the columns of the table, one value a run.
type measured map[string][]float64

func (m measured) add(column string, value float64) { m[column] = append(m[column], value) }

// columns are in the order of a sidecar's life.
func columns() []string {
	return []string{
		"replayed ready s", "replayed peak MiB", "cold ready s", "cold peak MiB", "cold at ready MiB", "cold on disk s", "cold serving MiB", "index B/entry", "disk MiB",
		"warm ready s", "warm at ready MiB", "warm complete s", "warm serving MiB",
	}
}

// TestFootprint prints what a sidecar takes, and checks what holds at any speed: it
// denies what was revoked from the moment it is ready, and keeps to its memory.
func TestFootprint(t *testing.T) {
	entries, runs, requests := sizes(t)
	i := tokentest.NewIssuer(t, "")
	r := rig{program: build(t), trust: fmt.Sprintf("issuer=%s,jwks=%s,audience=%s", i.ID(), i.ID(), tokentest.Audience)}
	good := make([]string, hot)
	for n := range good {
		good[n] = sign(t, i, fmt.Sprint("jti-", n), id('g', n))
	}
	head := append([]string{"entries"}, columns()...)
	var rows [][]string
	for _, n := range entries {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			r.broker = startBroker(t, n, i.ID())
			t.Logf("%d entries: the broker was filled in %.1f s", n, r.broker.Took.Seconds())
			use := traffic{requests: requests, good: good}
			for _, at := range []int{0, n / 2, n - 1} {
				use.revoked = append(use.revoked, sign(t, i, fmt.Sprint("revoked-", at), session(at)))
			}
			m := measured{}
			for range runs {
				r.replayed(t, m, use)
			}
			r.root = writeSnapshot(t, r.broker)
			defer func() { r.root = "" }() // which the next broker does not know
			for range runs {
				store := t.TempDir()
				r.cold(t, m, store, n, use)
				r.warm(t, m, store, n, use)
			}
			row := []string{strconv.Itoa(n)}
			for _, c := range columns() {
				row = append(row, spread.Of(m[c]).String())
			}
			rows = append(rows, row)
		})
	}
	t.Logf("median of %d (least–most)\n%s", runs, spread.Table(head, rows))
}

func sign(t *testing.T, i *tokentest.Issuer, jti, sid string) string {
	t.Helper()
	now := time.Now()
	return i.EdDSA.Sign(t, i.EdDSA.Header(), tokentest.With(i.Claims(now), tokentest.Object{
		"jti": jti, "sid": sid, "exp": now.Add(24 * time.Hour).Unix(),
	}))
}

// replayed is a first start where no issuer has written a snapshot yet: the whole feed is
// read.
func (r rig) replayed(t *testing.T, m measured, use traffic) {
	t.Helper()
	s := r.start(t, t.TempDir())
	m.add("replayed ready s", s.ready.Seconds())
	m.add("replayed peak MiB", float64(s.watch.peak())/mega)
	use.wantDenied(t, s)
	s.kill()
}

// cold is a sidecar's first start otherwise.
func (r rig) cold(t *testing.T, m measured, store string, entries int, use traffic) {
	t.Helper()
	s := r.start(t, store)
	m.add("cold ready s", s.ready.Seconds())
	m.add("cold at ready MiB", s.now(t))
	use.wantDenied(t, s)
	v, took := s.settle(t)
	m.add("cold on disk s", (s.ready + took).Seconds())
	m.add("cold peak MiB", float64(s.watch.peak())/mega)
	m.add("cold serving MiB", use.within(t, s, entries))
	// Fingerprints of 40 bits: of ten million entries, some share theirs.
	if have := v.Entries["narrow"]; have < entries-entries/1000-1 || have > entries {
		t.Errorf("ready with %d of %d entries", have, entries)
	}
	each := float64(v.Memory.IndexBytes) / float64(entries)
	m.add("index B/entry", each)
	if each > 16 {
		t.Errorf("the index takes %.1f bytes an entry", each)
	}
	s.stop(t)
	m.add("disk MiB", float64(onDisk(t, store))/mega)
}

// warm is any later start.
func (r rig) warm(t *testing.T, m measured, store string, entries int, use traffic) {
	t.Helper()
	s := r.start(t, store)
	m.add("warm ready s", s.ready.Seconds())
	m.add("warm at ready MiB", s.now(t))
	use.wantDenied(t, s)
	v, took := s.settle(t)
	m.add("warm complete s", (s.ready + took).Seconds())
	if have := v.Entries["narrow"]; have < entries-entries/1000-1 {
		t.Errorf("complete with %d of %d entries", have, entries)
	}
	m.add("warm serving MiB", use.within(t, s, entries))
	s.stop(t)
}

// now is the memory at this moment, in MiB.
func (s *sidecar) now(t *testing.T) float64 {
	t.Helper()
	n, err := s.watch.anonymous()
	if err != nil {
		t.Fatal(err)
	}
	return float64(n) / mega
}

func onDisk(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return bytes
}

// traffic is what a sidecar is asked while its memory is looked at.
type traffic struct {
	requests      int
	good, revoked []string
}

// wantDenied asks for what was revoked first, last, and in between.
func (u traffic) wantDenied(t *testing.T, s *sidecar) {
	t.Helper()
	for n, token := range u.revoked {
		if a, err := s.get(s.auth, "/auth", token); err != nil || a.status != http.StatusUnauthorized {
			t.Errorf("revoked token %d: %d, %v", n, a.status, err)
		}
	}
}

// budget is how much memory, in MiB, a sidecar may take while it serves: 64 beside a
// million entries and 224 beside ten.
func budget(entries int) float64 {
	return 64 + float64(entries-1_000_000)/9_000_000*(224-64)
}

// within is send, and fails the test if the budget is exceeded.
func (u traffic) within(t *testing.T, s *sidecar, entries int) float64 {
	t.Helper()
	took := u.send(t, s)
	if most := budget(entries); took > most {
		t.Errorf("%.0f MiB while serving beside %d entries, want at most %.0f", took, entries, most)
	}
	return took
}

// send sends requests as fast as they are answered, one in a hundred with a revoked
// token, and gives the most memory that the sidecar took meanwhile, in MiB.
func (u traffic) send(t *testing.T, s *sidecar) float64 {
	t.Helper()
	s.watch.peak()
	var next atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for n := int(next.Add(1)); n <= u.requests; n = int(next.Add(1)) {
				token, want := u.good[n%len(u.good)], http.StatusOK
				if n%100 == 0 {
					token, want = u.revoked[n/100%len(u.revoked)], http.StatusUnauthorized
				}
				if a, err := s.get(s.auth, "/auth", token); err != nil || a.status != want {
					t.Errorf("request %d: %d, %v, want %d", n, a.status, err, want)
					return
				}
			}
		})
	}
	group.Wait()
	return float64(s.watch.peak()) / mega
}
