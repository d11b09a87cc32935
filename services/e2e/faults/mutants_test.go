package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mutant is a sidecar with one defect: in a file of its module, old is replaced by
// broken.
type mutant struct {
	name, file, old, broken string
	world                   func(*testing.T, string) *world
	strikes                 []strike
}

var mutants = []mutant{
	{
		"feed events are dropped", "internal/replica/apply.go",
		"		a.Entries = append(a.Entries, e.Revocation)\n",
		"		if n := len(e.Revocation.ID); n == 0 || e.Revocation.ID[n-1] != '7' {\n			a.Entries = append(a.Entries, e.Revocation)\n		}\n",
		newSingle,
		single,
	},
	{
		"entries are applied after the heartbeats that follow them", "internal/node/view.go",
		"func (s *sink) Apply(a replica.Apply) error {\n",
		"var late []replica.Apply\n\nfunc (s *sink) Apply(a replica.Apply) error {\n	late = append(late, a)\n	a.Entries = nil\n	if len(late) > 3 {\n		a.Entries, late = late[0].Entries, late[1:]\n	}\n",
		newSingle,
		single,
	},
	{
		"the cursor is written before the entries", "internal/denylist/run.go",
		"		if err := d.store.Apply(b); err != nil {\n",
		"		if err := d.store.Apply(Batch{Cursor: b.Cursor}); err != nil {\n			return err\n		}\n		time.Sleep(3 * time.Second)\n		if err := d.store.Apply(b); err != nil {\n",
		newSingle,
		single,
	},
	{
		"entries are forgotten before their tokens expire", "internal/denylist/rule.go",
		"	return !until.IsZero() && now.After(until)\n",
		"	return !until.IsZero() && now.After(until.Add(-5*time.Minute))\n",
		newSingle,
		// No fault after which the ledger asks for nothing that came before.
		[]strike{sidecarKilled, sidecarSuspended, partition, connectionsLost},
	},
	{
		"whoever is connected is fresh, however old the last heartbeat", "internal/node/view.go",
		"	s := n.Syncer.State()\n	return s.FreshAsOf",
		"	s := n.Syncer.State()\n	if s.Phase != replica.Offline && !s.FreshAsOf.IsZero() {\n		s.FreshAsOf = time.Now()\n	}\n	return s.FreshAsOf",
		newSingle,
		single,
	},
	{
		"the end of a fetch counts as fresh", "internal/replica/fetch.go",
		"	m.asked = 0\n	return true\n",
		"	m.asked, m.cursor.FreshAsOf = 0, time.Now()\n	return true\n",
		newCluster,
		[]strike{minorityIsolated},
	},
}

// enforcement is what a promise broken by a mutant reads like.
var enforcement = regexp.MustCompile(`revoked and allowed|denied once and allowed|to a revoked token|claims to be fresh|allows by a view`)

// The ledger is worth something: sidecars with a known defect do not get through a run.
// In passing only the first is tried.
func TestMutantsAreCaught(t *testing.T) {
	prepare(t)
	module, err := filepath.Abs("../../../sidecar")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		if _, _, err := m.breaks(module); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	for _, m := range mutants[:size(1, len(mutants))] {
		t.Run(m.name, func(t *testing.T) {
			w := m.world(t, m.build(t, module))
			seed := seedOf()
			rounds := w.play(seed, roundsOf(20, 30), m.strikes)
			caught := w.faulty()
			if len(caught) == 0 {
				t.Fatalf("%d rounds noticed nothing (seed %d): %s", rounds, seed, w.report())
			}
			if !enforcement.MatchString(caught[0]) {
				t.Fatalf("this is not what is broken: %s", caught[0])
			}
			t.Logf("caught in round %d (seed %d): %s", rounds, seed, strings.SplitN(caught[0], "\n", 2)[0])
		})
	}
}

// breaks gives the file that the defect is in, and what it reads with it.
func (m mutant) breaks(module string) (path string, text []byte, err error) {
	path = filepath.Join(module, filepath.FromSlash(m.file))
	text, err = os.ReadFile(path)
	if err == nil && bytes.Count(text, []byte(m.old)) != 1 {
		err = fmt.Errorf("%s does not have the lines once that this breaks", m.file)
	}
	return path, bytes.Replace(text, []byte(m.old), []byte(m.broken), 1), err
}

// build makes the broken sidecar. The files stay as they are: the build takes the broken
// copy instead.
func (m mutant) build(t *testing.T, module string) string {
	t.Helper()
	path, text, err := m.breaks(module)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	broken, overlay, out := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "sidecar")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: broken}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{broken: text, overlay: replace} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := build(t.Context(), module, "./cmd/sidecar", out, overlay); err != nil {
		t.Fatal(err)
	}
	return out
}
