package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/stack"
)

// R20, INV-7: what was revoked goes where its tokens go. Two hundred thousand
// revocations are announced and expire; then the feed and the journal, the sidecar's
// disk and its index are as they were. AUDIT and EVENTS keep what they are there to
// keep, for as long as they are told.
func TestExpiredRevocationsLeaveNothing(t *testing.T) {
	t.Parallel() // it waits for entries to expire
	s := start(t, 1)
	js, err := jetstream.New(connect(t, s, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	total := size(24_000, 200_000)
	before := weigh(t, s, js)
	// Long enough for all of them to stand at once.
	announceMany(t, s, total, time.Duration(size(20, 300))*time.Second)
	eventually(t, time.Minute, "the last entry", func() bool { return weigh(t, s, js).narrow > 0 })
	full := weigh(t, s, js)
	if full.feed.messages < int64(total)/4 {
		t.Fatalf("the feed never held more than %d messages", full.feed.messages)
	}
	var after weights
	defer func() { show(t, total, before, full, after) }()
	// Issuers record and announce anew what they find in time, which lasts a little
	// longer.
	eventually(t, 10*time.Minute, "the end of all entries", func() bool {
		after = weigh(t, s, js)
		full.atLeast(after)
		return after.feed.messages < 200 && after.journal.messages < 200 && after.narrow == 0 && after.badger < before.badger+badgerKeeps
	})
	if after.index > before.index+full.index/2 {
		t.Errorf("the index keeps %d of %d bytes", after.index, full.index)
	}
}

// badgerKeeps is what Badger keeps of a past that is gone: the log of what it wrote last,
// and the tables that wait to be merged. It does not grow with what there was.
const badgerKeeps = 24 << 20

// show prints what there was.
func show(t *testing.T, total int, before, full, after weights) {
	t.Helper()
	t.Logf("%-28s %14s %14s %14s", fmt.Sprintf("%d revocations", total), "before", "most", "after")
	for _, row := range []struct {
		name string
		of   func(w weights) int64
	}{
		{"FEED, messages", func(w weights) int64 { return w.feed.messages }},
		{"FEED, bytes", func(w weights) int64 { return w.feed.bytes }},
		{"JOURNAL, messages", func(w weights) int64 { return w.journal.messages }},
		{"JOURNAL, bytes", func(w weights) int64 { return w.journal.bytes }},
		{"AUDIT, messages (kept)", func(w weights) int64 { return w.audit.messages }},
		{"sidecar: index, entries", func(w weights) int64 { return w.narrow }},
		{"sidecar: index, bytes", func(w weights) int64 { return w.index }},
		{"sidecar: Badger, bytes", func(w weights) int64 { return w.badger }},
		{"sidecar: resident, bytes", func(w weights) int64 { return w.resident }},
		{"issuer: resident, bytes", func(w weights) int64 { return w.issuer }},
	} {
		t.Logf("%-28s %14d %14d %14d", row.name, row.of(before), row.of(full), row.of(after))
	}
}

// announceMany publishes revocations as an operator does who has nothing but the
// broker's credentials: half of tokens of our issuer's, which are recorded in the
// journal as well, half of another's sessions.
func announceMany(t *testing.T, s *stack.Stack, total int, life time.Duration) {
	t.Helper()
	feed, err := eventstore.NewFeed(connect(t, s, topology.Operator), subject.Realm(stack.Realm).FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	realm := subject.Realm(stack.Realm)
	var failed atomic.Int64
	began := time.Now()
	work(total, 64, func(i int) {
		r := events.Revocation{
			ID: events.RevocationID(uuid.Must(uuid.NewV7()).String()), Kind: events.KindToken, Issuer: events.Issuer(s.Issuer().URL()),
			Target: uuid.Must(uuid.NewV7()).String(), Reason: "stolen", By: events.Initiator{Role: "operator", Name: "nats"},
			Until: time.Now().Add(life),
		}
		if i%2 == 1 {
			r.Kind, r.Issuer = events.KindSession, "https://id.example"
		}
		e := events.Envelope{ID: events.EventID(r.ID), At: time.Now(), Event: events.Revoked{Revocation: r}}
		if _, err := feed.Publish(t.Context(), realm.FeedEntry(r.Kind, r.Issuer, r.Target), e, life); err != nil && failed.Add(1) < 5 {
			t.Error(err)
		}
	})
	t.Logf("announced in %s", time.Since(began).Round(time.Millisecond))
}

// weights are what a stack holds at a moment.
type weights struct {
	feed, journal, audit  stored
	narrow, index, badger int64
	resident, issuer      int64
}

type stored struct{ messages, bytes int64 }

// atLeast remembers the most of everything.
func (w *weights) atLeast(other weights) {
	for _, s := range [][2]*stored{{&w.feed, &other.feed}, {&w.journal, &other.journal}, {&w.audit, &other.audit}} {
		s[0].messages, s[0].bytes = max(s[0].messages, s[1].messages), max(s[0].bytes, s[1].bytes)
	}
	w.narrow, w.index, w.badger = max(w.narrow, other.narrow), max(w.index, other.index), max(w.badger, other.badger)
	w.resident, w.issuer = max(w.resident, other.resident), max(w.issuer, other.issuer)
}

func weigh(t *testing.T, s *stack.Stack, js jetstream.JetStream) (w weights) {
	t.Helper()
	realm := subject.Realm(stack.Realm)
	for name, into := range map[string]*stored{
		realm.FeedStream(): &w.feed, realm.JournalStream(): &w.journal, realm.AuditStream(): &w.audit,
	} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		state := stream.CachedInfo().State
		*into = stored{int64(state.Msgs), int64(state.Bytes)}
	}
	sidecar := s.Sidecars()[0]
	var status struct {
		Entries map[string]int64 `json:"entries"`
		Memory  struct {
			Index int64 `json:"index_bytes"`
		} `json:"memory"`
	}
	a := do(t, http.MethodGet, sidecar.AdminURL()+"/v1/status", "", "", "")
	if err := json.Unmarshal(a.body, &status); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	w.narrow, w.index = status.Entries["narrow"], status.Memory.Index
	w.badger = onDiskBytes(t, filepath.Join(string(s.Dir()), sidecar.Name))
	w.resident, w.issuer = resident(sidecar.PID()), resident(s.Issuer().PID())
	return w
}

// onDiskBytes is what the files of a directory take.
func onDiskBytes(t *testing.T, dir string) (total int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // a file that vanishes takes nothing
		}
		if info, err := entry.Info(); err == nil {
			total += allocated(info)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}

// resident is the memory of a process, where the system says it (Linux).
func resident(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	line, _, _ := strings.Cut(rest, "kB")
	n, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return n << 10
}
