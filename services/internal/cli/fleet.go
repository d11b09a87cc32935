package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const fleetPath = "/admin/v1/fleet"

type fleetCommand struct{}

func (*fleetCommand) Help() string {
	return `Lists the sidecars that are expected to enforce revocations: those heard of within the longest life of a token that have not signed off. Each is asked to report, so this is how things are now. It needs an operator's token; an issuer's first is admin.token in its data directory.

STATE says how a sidecar stands to the feed of revocations:

  following     it enforces every revocation as it comes
  catching-up   it reads what it missed
  stale         it has heard nothing for so long (sidecar --stale-after)
  silent        it did not answer; LAST SEEN is when it last did

POSITION is up to where it enforces the feed, LAG how many of the feed's events it had not applied. FRESH AS OF is the moment up to which it has provably missed nothing. ENTRIES is how many revocations it holds.

The line below them is the last canary: a revocation of a token that does not exist, sent by the issuer to see whether everybody enforces it (issuer --canary-interval).

Exit status 0 also if some are silent; revoke --wait is what fails then.

Examples:

  revocast fleet --admin-token-file data/admin.token
  revocast fleet -o json | jq -r '.sidecars[] | select(.state != "following") | .id'
`
}

// sidecarInfo is one sidecar in the answer of GET /admin/v1/fleet.
type sidecarInfo struct {
	ID        string    `json:"id"`
	Instance  string    `json:"instance"`
	Version   string    `json:"version"`
	State     string    `json:"state"`
	Position  string    `json:"position"`
	Lag       uint64    `json:"lag"`
	FreshAsOf time.Time `json:"fresh_as_of"`
	Entries   uint64    `json:"entries"`
	LastSeen  time.Time `json:"last_seen"`
}

type fleetInfo struct {
	Position     string        `json:"position"`
	Sidecars     []sidecarInfo `json:"sidecars"`
	Incomplete   string        `json:"incomplete"`
	WatchedSince time.Time     `json:"watched_since"`
	Canary       *struct {
		enforcement

		At time.Time `json:"at"`
	} `json:"canary"`
}

func (*fleetCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	a, err := admin.call(ctx, http.MethodGet, fleetPath)
	var got fleetInfo
	if err == nil {
		err = a.into(&got, http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("looking at the fleet: %w", err)
	}
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(a.body)))
	}
	rows := [][]string{{"SIDECAR", "INSTANCE", "VERSION", "STATE", "POSITION", "LAG", "FRESH AS OF", "ENTRIES", "LAST SEEN"}}
	for _, s := range got.Sidecars {
		rows = append(rows, []string{
			s.ID, brief(s.Instance), s.Version, s.State, s.Position, strconv.FormatUint(s.Lag, 10),
			momentOrNever(s.FreshAsOf), strconv.FormatUint(s.Entries, 10), moment(s.LastSeen),
		})
	}
	if len(got.Sidecars) == 0 {
		t.printf("no sidecar has been heard of\n")
	} else {
		t.table(rows...)
	}
	if c := got.Canary; c != nil {
		t.printf("canary of %s: %s\n", moment(c.At), &c.enforcement)
	}
	if got.Incomplete != "" {
		t.printf("incomplete: %s\n", printable(got.Incomplete))
	}
	if !got.WatchedSince.IsZero() {
		t.printf("this issuer has listened since %s: who was cut off before that is not known to it\n", moment(got.WatchedSince))
	}
	return nil
}

func momentOrNever(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return moment(at)
}

// brief is enough of a UUID to tell two runs of one sidecar apart.
func brief(id string) string { return id[:min(len(id), 8)] }

// enforcement is what a wait was answered with.
type enforcement struct {
	Live      int      `json:"live"`
	Confirmed int      `json:"confirmed"`
	P50       float64  `json:"p50_ms"`
	Max       float64  `json:"max_ms"`
	Missing   []string `json:"missing"`
	Sidecars  []struct {
		ID        string    `json:"id"`
		Instance  string    `json:"instance"`
		Confirmed bool      `json:"confirmed"`
		Took      float64   `json:"ms"`
		LastSeen  time.Time `json:"last_seen"`
	} `json:"sidecars"`
	Incomplete   string    `json:"incomplete"`
	WatchedSince time.Time `json:"watched_since"`
}

// String says it in a line.
func (e *enforcement) String() string {
	s := fmt.Sprintf("%d of %d sidecars confirmed", e.Confirmed, e.Live)
	if e.Confirmed > 0 {
		s += fmt.Sprintf(", median %.1f ms, slowest %.1f ms", e.P50, e.Max)
	}
	return s
}

// print shows every sidecar and how long it took.
func (e *enforcement) print(t *terminal) {
	rows := [][]string{{"SIDECAR", "INSTANCE", "ENFORCED"}}
	for _, s := range e.Sidecars {
		says := fmt.Sprintf("%.1f ms", s.Took)
		if !s.Confirmed {
			says = "missing, last seen " + moment(s.LastSeen)
		}
		rows = append(rows, []string{s.ID, brief(s.Instance), says})
	}
	t.printf("%s\n", e)
	t.table(rows...)
	if !e.WatchedSince.IsZero() {
		t.printf("the issuer has listened since %s: who was cut off before that is not known to it\n", moment(e.WatchedSince))
	}
}

// verdict is why what was waited for cannot be called enforced everywhere; nil if it
// can.
func (e *enforcement) verdict() error {
	switch {
	case e == nil:
		return nil
	case e.Confirmed < e.Live:
		return fmt.Errorf("done, but not confirmed by %d of %d sidecars: %q", e.Live-e.Confirmed, e.Live, e.Missing)
	case e.Incomplete != "":
		return errors.New("done, but it is not known whether it is enforced everywhere: " + e.Incomplete)
	}
	return nil
}
