package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

type fsckCommand struct{}

func (*fsckCommand) Help() string {
	return `The sidecar compares what it has on disk with the feed, and its index in memory with the disk, while it goes on working. Nothing is changed. It is asked at its admin listener (port 9472). For a sidecar that does not run there is sidecar fsck.

What the feed holds up to the sidecar's position must be on disk, unless it was lifted or is over. The disk may hold more: entries that are over and not yet cleared away, and those of an earlier life of the feed, which deny until they expire. So the two columns need not be equal.

If something is wrong, the faulty entries are named, up to some of each kind. To put it right, stop the sidecar, remove the directory denylist in its data directory and start it: it reads everything from the feed again, and is not ready until it has. What only the disk held, from an earlier life of the feed, is forgotten by that.

Exit status 0 if nothing is wrong, 1 if something is or the comparison failed.

Examples:

  revocast fsck
  revocast fsck --sidecar-url http://127.0.0.1:9482 -o json
`
}

// comparison is the report, as far as it is printed as a table.
type comparison struct {
	Clean       bool         `json:"clean"`
	Faults      []string     `json:"faults"`
	Notes       []string     `json:"notes"`
	Store       side         `json:"store"`
	Feed        side         `json:"feed"`
	Behind      int          `json:"behind"`
	Missing     namedEntries `json:"missing"`
	Different   namedEntries `json:"different"`
	OnlyInStore struct {
		Expired int `json:"expired"`
		Earlier int `json:"earlier"`
	} `json:"only_in_store"`
	Lifted       int          `json:"lifted"`
	MissingLifts namedEntries `json:"missing_lifts"`
	StillThere   namedEntries `json:"lifted_and_still_there"`
	Index        struct {
		Checked bool         `json:"checked"`
		Entries int          `json:"entries"`
		Missing namedEntries `json:"missing"`
	} `json:"index"`
	Took float64 `json:"took_seconds"`
}

type side struct {
	Epoch    string         `json:"epoch"`
	Position uint64         `json:"position"`
	Entries  map[string]int `json:"entries"`
	Lifts    int            `json:"lifts"`
}

type namedEntries struct {
	Count    int `json:"count"`
	Examples []struct {
		RevocationID string    `json:"revocation_id"`
		Kind         string    `json:"kind"`
		Issuer       string    `json:"issuer"`
		ID           string    `json:"id"`
		ExpiresAt    time.Time `json:"expires_at"`
	} `json:"examples"`
}

func (c *fsckCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	sidecar, err := newAPI(cmp.Or(g.SidecarURL, defaultSidecarAdminURL), "", g.AllowPlainHTTP)
	if err != nil {
		return err
	}
	var report json.RawMessage
	err = sidecar.lines(ctx, http.MethodPost, "/v1/fsck", func(text []byte) error {
		var l struct {
			Progress *struct {
				Round int    `json:"round"`
				Side  string `json:"side"`
				Read  int    `json:"read"`
			} `json:"progress"`
			Report json.RawMessage `json:"report"`
			Error  string          `json:"error"`
		}
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		switch {
		case l.Error != "":
			return errors.New(l.Error)
		case l.Progress != nil && l.Progress.Read > 0:
			t.note(fmt.Errorf("reading the %s, round %d: %d so far", l.Progress.Side, l.Progress.Round, l.Progress.Read))
		case len(l.Report) > 0:
			report = bytes.Clone(l.Report)
		}
		return nil
	})
	if isRefusal(err, http.StatusConflict, "") {
		err = errors.New("another comparison is under way")
	}
	if isRefusal(err, http.StatusNotFound, "") {
		err = fmt.Errorf("this is no sidecar's admin listener: %w", err)
	}
	if err == nil && report == nil {
		err = errors.New("the answer ends before the report")
	}
	if err != nil {
		return fmt.Errorf("comparing store and feed: %w", err)
	}
	var r comparison
	if err := json.Unmarshal(report, &r); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if t.json {
		err = t.printJSON(report)
	} else {
		r.print(t)
	}
	if !r.Clean {
		err = errors.Join(err, fmt.Errorf("the store is not as it should be: %s", strings.Join(r.Faults, "; ")))
	}
	return err
}

func (r *comparison) print(t *terminal) {
	verdict := "clean"
	if !r.Clean {
		verdict = "faulty"
	}
	rows := [][]string{{"verdict", verdict}}
	for _, f := range r.Faults {
		rows = append(rows, []string{"fault", f})
	}
	for _, n := range r.Notes {
		rows = append(rows, []string{"note", n})
	}
	t.table(append(rows, []string{"took", fmt.Sprintf("%.1f s", r.Took)})...)
	t.printf("\n")

	rows = [][]string{
		{"", "STORE", "FEED"},
		{"epoch", cmp.Or(r.Store.Epoch, "-"), cmp.Or(r.Feed.Epoch, "-")},
		{"position", strconv.FormatUint(r.Store.Position, 10), strconv.FormatUint(r.Feed.Position, 10)},
	}
	for _, kind := range []string{"token", "session", "subject", "client", "key", "all"} {
		rows = append(rows, []string{kind, strconv.Itoa(r.Store.Entries[kind]), strconv.Itoa(r.Feed.Entries[kind])})
	}
	t.table(append(rows, []string{"lifts", strconv.Itoa(r.Store.Lifts), strconv.Itoa(r.Feed.Lifts)})...)
	t.printf("\n")

	index := "not checked"
	if r.Index.Checked {
		index = fmt.Sprintf("%d of %d found", r.Index.Entries-r.Index.Missing.Count, r.Index.Entries)
	}
	t.table(
		[]string{"missing in the store", strconv.Itoa(r.Missing.Count)},
		[]string{"different", strconv.Itoa(r.Different.Count)},
		[]string{"yet to be taken in", strconv.Itoa(r.Behind)},
		[]string{"only in the store", fmt.Sprintf("%d expired, %d from an earlier life of the feed", r.OnlyInStore.Expired, r.OnlyInStore.Earlier)},
		[]string{"lifted", strconv.Itoa(r.Lifted)},
		[]string{"by the index", index},
	)
	rows = [][]string{{"FAULT", "KIND", "ID", "REVOCATION", "UNTIL"}}
	for _, f := range []struct {
		name string
		of   namedEntries
	}{
		{"missing", r.Missing},
		{"different", r.Different},
		{"lift missing", r.MissingLifts},
		{"lifted, still there", r.StillThere},
		{"not in the index", r.Index.Missing},
	} {
		for _, e := range f.of.Examples {
			until := "-"
			if !e.ExpiresAt.IsZero() {
				until = moment(e.ExpiresAt)
			}
			rows = append(rows, []string{f.name, e.Kind, cmp.Or(e.ID, "-"), e.RevocationID, until})
		}
	}
	if len(rows) > 1 {
		t.printf("\n")
		t.table(rows...)
	}
}
