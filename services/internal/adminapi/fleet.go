package adminapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/canary"
	"github.com/revocast/revocast/services/internal/fleet"
	"github.com/revocast/revocast/services/internal/problem"
)

// Fleet knows the sidecars; see package fleet.
type Fleet interface {
	Confirm(ctx context.Context, sequence uint64, within time.Duration) fleet.Enforcement
	Members(ctx context.Context) fleet.Snapshot
	Latest() uint64
}

// Canary is the live check of the whole way; see package canary.
type Canary interface {
	Last() (canary.Result, bool)
}

const (
	// maxWait is how long a request may wait for the fleet.
	maxWait = 20 * time.Second
	// maxListed bounds the sidecars that one enforcement names.
	maxListed = 1000
)

// enforcementAnswer says who enforces a revocation.
type enforcementAnswer struct {
	Live      int     `json:"live"`
	Confirmed int     `json:"confirmed"`
	P50       float64 `json:"p50_ms"`
	Max       float64 `json:"max_ms"`
	// Missing are the names of those who did not confirm.
	Missing []string `json:"missing"`
	// Sidecars are those who did not confirm and then the slowest, at most a thousand.
	Sidecars []confirmation `json:"sidecars"`
	// Incomplete says why there may be sidecars that this issuer does not know.
	Incomplete string `json:"incomplete,omitempty"`
	// WatchedSince is left out once no token is that old.
	WatchedSince *time.Time `json:"watched_since,omitempty"`
}

type confirmation struct {
	ID        string `json:"id"`
	Instance  string `json:"instance"`
	Confirmed bool   `json:"confirmed"`
	// Took is left out for who did not confirm.
	Took     *float64  `json:"ms,omitempty"`
	LastSeen time.Time `json:"last_seen"`
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func enforcementOf(e fleet.Enforcement) *enforcementAnswer {
	answer := &enforcementAnswer{
		Live: e.Live, Confirmed: e.Confirmed, Missing: []string{}, Sidecars: []confirmation{},
		Incomplete: e.Incomplete, WatchedSince: moment(e.WatchedSince),
	}
	var took []time.Duration
	for _, s := range e.Sidecars {
		c := confirmation{ID: s.Sidecar, Instance: s.Instance, Confirmed: s.Confirmed, LastSeen: s.Seen.UTC()}
		if s.Confirmed {
			took = append(took, s.Took)
			ms := milliseconds(s.Took)
			c.Took = &ms
		} else if len(answer.Missing) < maxListed {
			answer.Missing = append(answer.Missing, s.Sidecar)
		}
		if len(answer.Sidecars) < maxListed {
			answer.Sidecars = append(answer.Sidecars, c)
		}
	}
	if len(took) > 0 {
		slices.Sort(took)
		answer.P50, answer.Max = milliseconds(took[len(took)/2]), milliseconds(took[len(took)-1])
	}
	return answer
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// waitOf reads for how long a request waits; zero for not at all.
func waitOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > maxWait {
		return 0, problem.New(http.StatusBadRequest, "wait is a duration such as 2s or 500ms, at most 20s.")
	}
	return d, nil
}

type sidecarAnswer struct {
	ID       string `json:"id"`
	Instance string `json:"instance"`
	Version  string `json:"version"`
	// State is following, catching-up, stale, or silent for one that did not answer
	// just now.
	State    string `json:"state"`
	Epoch    string `json:"epoch,omitempty"`
	Position string `json:"position,omitempty"`
	// Lag is what it had not applied when it reported, in feed messages.
	Lag       uint64     `json:"lag"`
	FreshAsOf *time.Time `json:"fresh_as_of"`
	Entries   uint64     `json:"entries"`
	LastSeen  time.Time  `json:"last_seen"`
}

type fleetAnswer struct {
	Epoch string `json:"epoch,omitempty"`
	// Position is the last of the feed that this issuer knows of.
	Position     string          `json:"position,omitempty"`
	Sidecars     []sidecarAnswer `json:"sidecars"`
	Incomplete   string          `json:"incomplete,omitempty"`
	WatchedSince *time.Time      `json:"watched_since,omitempty"`
	// Canary is the last one that this issuer sent; another may have sent a later one.
	Canary *canaryAnswer `json:"canary,omitempty"`
}

type canaryAnswer struct {
	At           time.Time `json:"at"`
	RevocationID string    `json:"revocation_id"`
	Position     string    `json:"position"`

	*enforcementAnswer
}

// silent is the state of a sidecar that was asked and did not answer.
const silent = "silent"

// fleet is GET /admin/v1/fleet: every sidecar that is expected to enforce revocations,
// as it answers now or was last heard of.
func (a API) fleet(w http.ResponseWriter, r *http.Request, _ events.Initiator) error {
	s := a.Fleet.Members(r.Context())
	answer := fleetAnswer{
		Epoch: string(s.Epoch), Position: positionOf(s.Latest), Sidecars: []sidecarAnswer{},
		Incomplete: s.Incomplete, WatchedSince: moment(s.WatchedSince),
	}
	for _, m := range s.Members {
		one := sidecarAnswer{
			ID: m.Sidecar, Instance: m.Instance, Version: m.Version, State: m.State.String(), Epoch: string(m.Epoch),
			Position: positionOf(m.Sequence), Lag: m.Lag, FreshAsOf: moment(m.FreshAsOf), Entries: m.Entries, LastSeen: m.Seen.UTC(),
		}
		if m.Silent {
			one.State = silent
		}
		answer.Sidecars = append(answer.Sidecars, one)
	}
	if last, ok := a.Canary.Last(); ok {
		answer.Canary = &canaryAnswer{
			At: last.At.UTC(), RevocationID: string(last.ID), Position: positionOf(last.Sequence),
			enforcementAnswer: enforcementOf(last.Enforcement),
		}
	}
	write(w, http.StatusOK, answer)
	return nil
}

func positionOf(sequence uint64) string {
	if sequence == 0 {
		return ""
	}
	return events.Position{Sequence: sequence}.String()
}
