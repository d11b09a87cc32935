package adminapi

import (
	"bufio"
	"math"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// Status is the answer of GET /v1/status.
type Status struct {
	// ID is --id, Instance a random name that differs from run to run; reports to the
	// issuers carry both.
	ID       string `json:"id"`
	Instance string `json:"instance"`
	Version  string `json:"version"`
	// Ready is what /readyz says, Reason why not.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`

	Feed FeedStatus `json:"feed"`
	// FreshAsOf is the moment up to which the view is proved complete, AgeSeconds how
	// long ago that is; null for never. Stale: longer than policy.stale_after.
	FreshAsOf  *time.Time `json:"fresh_as_of"`
	AgeSeconds *float64   `json:"age_seconds"`
	Stale      bool       `json:"stale"`

	// Entries counts what is denied: "narrow" tokens and sessions together, as the
	// index counts them (those of equal fingerprint are one); "subject", "client",
	// "key" and "all" exactly; and "lifted", the lifts remembered.
	Entries map[string]int `json:"entries"`
	Memory  Memory         `json:"memory"`
	Store   Store          `json:"store"`
	Policy  Policy         `json:"policy"`
	// Unusual counts, since the start, what should be rare; package replica says what
	// each is. Any of malformed, unknown, unsigned and rejected wants a look.
	Unusual map[string]uint64 `json:"unusual"`
}

// FeedStatus is how far the feed has been followed.
type FeedStatus struct {
	// Phase is offline, catch-up, following or repair (package replica).
	Phase string `json:"phase"`
	// Epoch names the life of the feed that Position belongs to; empty before the
	// first heartbeat ever.
	Epoch    string `json:"epoch"`
	Position string `json:"position"`
	// Lag is how many numbers the last message known to exist lies ahead.
	Lag uint64 `json:"lag"`
	// CaughtUp: a heartbeat has proved this run's view complete at least once.
	CaughtUp bool `json:"caught_up"`
	// Skew is how much the local clock is ahead of the broker's.
	Skew float64 `json:"clock_skew_seconds"`
}

// Memory is in bytes; 0 where there is no limit or nothing is known.
type Memory struct {
	// IndexBytes is the index's table, DenylistBytes everything the denylist keeps in
	// memory: index, wide table, lifts, and what is not on disk yet.
	IndexBytes    int `json:"index_bytes"`
	DenylistBytes int `json:"denylist_bytes"`
	// IndexComplete is false while the index is being filled from disk.
	IndexComplete bool `json:"index_complete"`
	// CacheLimit is --cache-size, Budget --memory-budget for denylist and cache
	// together. OverBudget: nothing is forgotten for it, but the sidecar is not ready.
	CacheLimit int64 `json:"cache_limit_bytes"`
	Budget     int64 `json:"budget_bytes"`
	OverBudget bool  `json:"over_budget"`
	// GoLimit is GOMEMLIMIT, given or derived from the budget: from there on the
	// garbage collector works harder. Resident is the anonymous resident set.
	GoLimit  int64 `json:"gomemlimit_bytes"`
	Resident int64 `json:"rss_anonymous_bytes"`
}

// Store is the disk behind the denylist.
type Store struct {
	// State is "ok"; "failing" while it cannot be written or read, and entries are
	// enforced from memory; or "rebuilding" after it lost what it held, until the feed
	// has brought that again.
	State string `json:"state"`
	// Queued is how many entries are not on disk yet.
	Queued int    `json:"queued"`
	Error  string `json:"error,omitempty"`
}

// Policy is what the flags of these names said.
type Policy struct {
	StaleAfter   string   `json:"stale_after"`
	WhenStale    string   `json:"when_stale"`
	StaleLimit   string   `json:"stale_limit"`
	Enforce      bool     `json:"enforce"`
	RequireScope []string `json:"require_scope,omitempty"`
}

func (a *API) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, a.Status(clock.Now()))
}

// Status gives the state at the time now.
func (a *API) Status(now time.Time) Status {
	feed, list := a.parts.Feed.State(), a.parts.Denylist.Status()
	s := Status{
		ID: a.parts.ID, Instance: a.parts.Instance, Version: a.parts.Version,
		Feed: feedOf(feed), FreshAsOf: moment(feed.FreshAsOf), AgeSeconds: age(feed.FreshAsOf, now),
		Stale:   now.Sub(feed.FreshAsOf) >= a.parts.Policy.StaleAfter,
		Entries: map[string]int{"narrow": list.Narrow, "lifted": list.Lifted},
		Memory: Memory{
			IndexBytes: list.IndexBytes, DenylistBytes: list.MemoryBytes, IndexComplete: list.Complete,
			CacheLimit: a.parts.Limits.Cache, Budget: a.parts.Limits.Budget, OverBudget: list.OverBudget,
			GoLimit: goLimit(), Resident: residentAnonymous(),
		},
		Store:  Store{State: "ok", Queued: list.Queued},
		Policy: a.policy(),
		Unusual: map[string]uint64{
			"malformed": feed.Malformed, "unknown": feed.Unknown, "unsigned": feed.Unsigned, "rejected": a.parts.Feed.Rejected(),
			"resyncs": feed.Resyncs, "repairs": feed.Repairs, "overflows": feed.Overflows, "duplicates": feed.Duplicates,
			"failed_fetches": feed.FailedFetches, "failed_applies": feed.FailedApplies,
		},
	}
	for _, k := range events.Kinds() {
		if k.Wide() {
			s.Entries[k.String()] = list.Wide[k]
		}
	}
	if list.DiskErr != nil {
		s.Store.State, s.Store.Error = "failing", list.DiskErr.Error()
	}
	if list.Rebuilding {
		s.Store.State = "rebuilding"
	}
	if err := a.parts.Ready(); err != nil {
		s.Reason = err.Error()
	} else {
		s.Ready = true
	}
	return s
}

func feedOf(s replica.State) FeedStatus {
	f := FeedStatus{
		Phase: s.Phase.String(), Epoch: string(s.Epoch), Position: events.Position{Sequence: s.Sequence}.String(),
		CaughtUp: s.CaughtUp, Skew: s.Skew(clock.Now(), clock.Elapsed()).Seconds(),
	}
	if s.Target > s.Sequence {
		f.Lag = s.Target - s.Sequence
	}
	return f
}

func (a *API) policy() Policy {
	p := &a.parts.Policy
	return Policy{
		StaleAfter: p.StaleAfter.String(), WhenStale: p.WhenStale.String(), StaleLimit: p.StaleLimit.String(),
		Enforce: !p.Shadow, RequireScope: p.Scopes,
	}
}

// goLimit is the memory limit of Go's runtime; 0 for none.
func goLimit() int64 {
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 { // a negative limit only asks
		return limit
	}
	return 0
}

// residentAnonymous is what of this process lies in memory and in no file, as Linux
// counts it (proc_pid_status(5)); 0 elsewhere.
func residentAnonymous() int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kB << 10
		}
	}
	return 0
}
