package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/sidecar/internal/adminapi"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/fsck"
)

// fsck asks over the admin API, when all that is enforced is on disk.
func (r *running) fsck(t *testing.T) fsck.Report {
	t.Helper()
	eventstest.Eventually(t, func(context.Context) error {
		if list := r.node.Denylist.Status(); list.Queued > 0 || !list.Complete {
			return fmt.Errorf("%d queued, index complete: %v", list.Queued, list.Complete)
		}
		return nil
	})
	mux := http.NewServeMux()
	r.api().Register(mux)
	server := httptest.NewServer(mux)
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/fsck", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var last adminapi.Line
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		last = adminapi.Line{}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			t.Fatal(err)
		}
	}
	if last.Report == nil {
		t.Fatalf("no report: %+v", last)
	}
	return *last.Report
}

// A store is as the feed says, while its sidecar runs and when it does not. One from
// which an entry was taken behind the sidecar's back is caught, by both, by name.
func TestFsckOfRunningAndStopped(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	dir := t.TempDir()
	r := startSidecar(t, s, i.public(), dir)
	signer, key := newKey(t, "k-1", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, key)})

	taken := revocation(events.KindSession, "taken")
	taken.Until = time.Now().Add(10 * time.Minute).Truncate(time.Second)
	back := revocation(events.KindSubject, "back")
	for _, n := range []events.Revocation{taken, back, revocation(events.KindAll, ""), revocation(events.KindToken, "j")} {
		if n.Kind.Wide() {
			n.Cut.Sequence = 1
		}
		i.revoke(t, n)
	}
	for n := range 20 {
		i.revoke(t, revocation(events.KindSession, fmt.Sprint("s-", n)))
	}
	i.lift(t, back)
	// Later than a sidecar that starts again makes sure of what it has.
	published := time.Now()
	eventstest.Eventually(t, func(context.Context) error {
		if list := r.node.Denylist.Status(); list.Cursor.FreshAsOf.Before(published.Add(2*time.Second)) || list.Narrow < 22 || list.Wide[events.KindAll] != 1 || list.Lifted != 1 {
			return fmt.Errorf("%+v", list)
		}
		return nil
	})
	clean := func(what string, got fsck.Report, running bool) {
		t.Helper()
		if !got.Clean || !got.SameEpoch || got.Index.Checked != running || running && got.Index.Entries != 23 ||
			got.Store.Entries["session"] != 21 || got.Feed.Entries["session"] != 21 || got.Lifted != 1 || got.Feed.Lifts != 1 || got.Behind != 0 {
			t.Errorf("%s: %+v", what, got)
		}
	}
	clean("running", r.fsck(t), true)
	if _, err := Fsck(t.Context(), r.cfg, nil); !errors.Is(err, badgerstore.ErrInUse) {
		t.Errorf("beside a running sidecar: %v", err)
	}
	r.stop()
	stopped, err := Fsck(t.Context(), r.cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	clean("stopped", stopped, false)

	store, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(dir, "data", "denylist")})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.Expire(t.Context(), time.Now().Add(30*time.Minute)), store.Close()); err != nil {
		t.Fatal(err)
	}
	caught := func(what string, got fsck.Report) {
		t.Helper()
		if got.Clean || got.Missing.Count != 1 || len(got.Missing.Examples) != 1 || got.Missing.Examples[0].RevocationID != taken.ID ||
			got.Missing.Examples[0].ID != "taken" || len(got.Faults) != 1 {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if stopped, err = Fsck(t.Context(), r.cfg, nil); err != nil {
		t.Fatal(err)
	}
	caught("stopped", stopped)
	r = startSidecar(t, s, i.public(), dir)
	caught("running", r.fsck(t))
	// And it is what the explanation shows: nothing names the session any more.
	if x := r.explain(t, tokenWith(t, signer, "taken")); len(x.Kinds) != 6 || len(x.Kinds[events.KindSession-1].Entries) != 0 {
		t.Errorf("%+v", x)
	}
}

func TestFsckNeedsAStoreAndABroker(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	dir := t.TempDir()
	r := startSidecar(t, s, i.public(), dir)
	r.stop()
	nowhere := r.cfg
	nowhere.DataDir = t.TempDir()
	if _, err := Fsck(t.Context(), nowhere, nil); err == nil {
		t.Error("no store, and no error")
	}
	s.Stop()
	if _, err := Fsck(t.Context(), r.cfg, nil); err == nil {
		t.Error("no broker, and no error")
	}
}

// A damaged store is no store with nothing in it, and looking at it does not mend it.
func TestFsckOfADamagedStore(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	dir := t.TempDir()
	r := startSidecar(t, s, i.public(), dir)
	for n := range 20 {
		i.revoke(t, revocation(events.KindSession, fmt.Sprint("s-", n)))
	}
	eventstest.Eventually(t, func(context.Context) error {
		if list := r.node.Denylist.Status(); list.Narrow < 20 || list.Queued > 0 {
			return fmt.Errorf("%+v", list)
		}
		return nil
	})
	r.stop()
	tables, err := filepath.Glob(filepath.Join(dir, "data", "denylist", "*", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	damaged := map[string][]byte{}
	for _, name := range tables {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := range min(len(content), 400) {
			content[at] ^= 0xff
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		damaged[name] = content
	}
	if report, err := Fsck(t.Context(), r.cfg, nil); err == nil {
		t.Errorf("a report of a damaged store: %+v", report)
	}
	for name, want := range damaged {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s was changed (%v)", name, err)
		}
	}
}
