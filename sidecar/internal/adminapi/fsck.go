package adminapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/revocast/revocast/sidecar/internal/fsck"
)

// Checker compares the store with the feed.
type Checker interface {
	Check(ctx context.Context, progress func(fsck.Progress)) (fsck.Report, error)
}

// Line is one line of the answer of POST /v1/fsck, which is NDJSON: any number with
// progress, then one with the report or an error.
type Line struct {
	Progress *fsck.Progress `json:"progress,omitempty"`
	Report   *fsck.Report   `json:"report,omitempty"`
	// Error says why the sides could not be compared.
	Error string `json:"error,omitempty"`
}

const (
	// tellEvery is how often progress is told at most.
	tellEvery = time.Second
	// writeWithin is how long one line may take to be written, and the longest that
	// the check itself may be silent before one is.
	writeWithin = 30 * time.Second
)

// fsck compares the store with the feed while the sidecar goes on working. One check
// may be under way: it reads the whole disk.
func (a *API) fsck(w http.ResponseWriter, r *http.Request) {
	select {
	case a.checking <- struct{}{}:
		defer func() { <-a.checking }()
	default:
		w.WriteHeader(http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	out, lines := http.NewResponseController(w), json.NewEncoder(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	tell := func(l Line) {
		// The listener's own deadline is for answers that are given at once.
		if out.SetWriteDeadline(time.Now().Add(writeWithin)) != nil || lines.Encode(l) != nil || out.Flush() != nil {
			cancel() // nobody listens
		}
	}
	tell(Line{Progress: &fsck.Progress{Round: 1, Side: "store"}})
	told := time.Now()
	report, err := a.parts.Checker.Check(ctx, func(p fsck.Progress) {
		if time.Since(told) >= tellEvery {
			told = time.Now()
			tell(Line{Progress: &p})
		}
	})
	if err != nil {
		tell(Line{Error: err.Error()})
		return
	}
	tell(Line{Report: &report})
}
