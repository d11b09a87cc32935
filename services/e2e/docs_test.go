//go:build unix

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDocuments runs every command in README.md, CONTRIBUTING.md and below docs, each
// document in a copy of this repository and in a shell of its own, from top to bottom.
// README.md finds a fresh clone; the others find bin/ as well.
//
// Blocks fenced as sh are run by bash -euo pipefail; those fenced as console or text
// show output. A comment directly above a block steers it:
//
//	<!-- docs-test: skip REASON -->    the block is not run
//	<!-- docs-test: background -->     it goes on while the next ones run
//	<!-- docs-test: expect STATUS -->  it ends with this exit status, in a subshell
//	<!-- docs-test: output -->         this is what the block before it prints; or, if
//	                                   it begins with a dollar, a transcript to repeat
//
// Output is compared without what differs from run to run; see normalised and compare.
// A command shown after a dollar must be run somewhere. Commands that would run this
// test again (make test, make check, .ci/run) are left out.
func TestDocuments(t *testing.T) {
	if os.Getenv("DOCS_TEST") != "" {
		t.Fatal("a document runs the tests that run the documents")
	}
	const root = "../.."
	documents := map[string][]fence{}
	ran := map[string]bool{"make test": true, "make check": true}
	var names []string
	for _, name := range documentNames(t, root) {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		fences, err := readFences(string(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		documents[name], names = fences, append(names, name)
		for command := range commands(fences) {
			ran[command] = true
		}
	}
	for _, name := range names {
		for _, command := range quoted(documents[name]) {
			if !ran[command] {
				t.Errorf("%s shows %q, which no block of commands runs", name, command)
			}
		}
		if len(commands(documents[name])) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			freePorts(t)
			dir := t.TempDir()
			s := session{root: filepath.Join(dir, "revocast"), dir: filepath.Join(dir, "session"), env: goCaches(t)}
			clone(t, root, s.root)
			if name != "README.md" {
				if err := os.CopyFS(filepath.Join(s.root, "bin"), os.DirFS(bin)); err != nil {
					t.Fatal(err)
				}
			}
			runDocument(t, s, documents[name])
		})
	}
}

// documentNames gives the documents whose commands are run.
func documentNames(t *testing.T, root string) []string {
	t.Helper()
	names := []string{"README.md", "CONTRIBUTING.md"}
	err := fs.WalkDir(os.DirFS(root), "docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// runDocument runs the blocks. Afterwards nothing that they started listens any more.
func runDocument(t *testing.T, s session, fences []fence) {
	t.Helper()
	deadline := time.Now().Add(8 * time.Minute)
	if end, ok := t.Deadline(); ok {
		deadline = slices.MinFunc([]time.Time{deadline, end.Add(-time.Minute)}, time.Time.Compare)
	}
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range fences {
		if f.skip != "" {
			t.Logf("line %d: not run: %s", f.line, f.skip)
		}
	}
	if err := s.run(ctx, fences); err != nil {
		t.Error(err)
	}
	freePorts(t)
}

// freePorts fails the test unless the ports that documents use are free, if need be
// after a moment.
func freePorts(t *testing.T) {
	t.Helper()
	for _, port := range []int{4222, 8080, 8081, 8082, 9000, 9470, 9471, 9472, 9480, 9481, 9482} {
		var last error
		ticker := time.NewTicker(100 * time.Millisecond)
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-ticker.C {
			var l net.Listener
			if l, last = new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port)); last == nil {
				last = l.Close()
				break
			}
		}
		ticker.Stop()
		if last != nil {
			t.Fatalf("documents use the usual ports, and %d is taken: %v; stop what listens there", port, last)
		}
	}
}

// goCaches keeps the caches of Go where they are for a shell whose HOME is elsewhere.
func goCaches(t *testing.T) []string {
	t.Helper()
	var env []string
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOENV"} {
		value, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	return env
}

// clone copies what a fresh clone has: the tree without what .gitignore names.
func clone(t *testing.T, from, to string) {
	t.Helper()
	left := []string{".git", ".tools", "bin", "data", "keys", "sidecar-data", filepath.Join("loadtest", "out")}
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case slices.Contains(left, name) && entry.IsDir():
			return fs.SkipDir
		case slices.Contains(left, name):
			return nil // a worktree's .git is a file
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o750)
		case slices.Contains([]string{".test", ".prof", ".out"}, filepath.Ext(name)):
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, info.Mode().Perm())
	})
	if err != nil {
		t.Fatalf("copying the repository: %v", err)
	}
}

// The sample has everything that steers a session.
func TestSampleDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "docs", "sample.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := emptySession(t)
	runSample(t, s, string(text), "")
	if n := gone(t, filepath.Join(s.root, "pids")); n != 2 {
		t.Errorf("%d processes told their ids, want 2", n)
	}
}

func emptySession(t *testing.T) session {
	t.Helper()
	return session{root: t.TempDir(), dir: t.TempDir()}
}

// runSample runs a document and wants the fault given, or none.
func runSample(t *testing.T, s session, document, fault string) {
	t.Helper()
	fences, err := readFences(document)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = s.run(ctx, fences)
	if fault == "" && err != nil || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
		t.Errorf("%s\n%v, want %q", document, err, fault)
	}
}

// What is wrong with a document is found.
func TestWrongDocuments(t *testing.T) {
	for name, c := range map[string]struct{ document, fault string }{
		"a command fails":            {"'''sh\nfalse\ntrue\n'''\n", "line 1: the block did not get to its end: exit status 1"},
		"what it said is told":       {"'''sh\necho because >&2; false\n'''\n", "because"},
		"in a pipe":                  {"'''sh\nfalse | true\n'''\n", "line 1"},
		"a variable is not set":      {"'''sh\ntrue\n'''\n\n'''sh\necho $NOT_SET\n'''\n", "line 5"},
		"not a command":              {"'''sh\nbin/no-such-program\n'''\n", "line 1"},
		"not shell":                  {"'''sh\nif\n'''\n", "line 1"},
		"it leaves early":            {"'''sh\nexit 0\n'''\n", "did not get to its end"},
		"a refusal does not come":    {"'''sh\n! true\necho on\n'''\n", "was to fail did not"},
		"in the middle":              {"'''sh\n! false\n! true \\\n  # longer\n! false\n'''\n", "was to fail did not"},
		"another status":             {"<!-- docs-test: expect 3 -->\n'''sh\n(exit 4)\n'''\n", "ended with status 4, want 3"},
		"no failure":                 {"<!-- docs-test: expect 3 -->\n'''sh\ntrue\n'''\n", "ended with status 0, want 3"},
		"other output":               {"'''sh\necho 200\n'''\n<!-- docs-test: output -->\n'''text\n401\n'''\n", "line 5: the block is not what was printed"},
		"a transcript's command":     {"<!-- docs-test: output -->\n'''console\n$ false\n'''\n", "line 2: the block did not get to its end: exit status 1"},
		"a transcript's output":      {"<!-- docs-test: output -->\n'''console\n$ echo a\na\n$ echo b\nc\n'''\n", "line 2: the block is not what was printed"},
		"the background fails":       {"<!-- docs-test: background -->\n'''sh\nexit 7\n'''\n\n'''sh\nsleep 0.5\n'''\n", "line 2: the block ran in the background and ended with status 7"},
		"its command does":           {"<!-- docs-test: background -->\n'''sh\nfalse\nsleep 60\n'''\n\n'''sh\nsleep 0.5\n'''\n", "line 2: the block ran in the background"},
		"it does so when told to":    {"<!-- docs-test: background -->\n'''sh\n(trap 'exit 9' TERM; while :; do sleep 0.05; done)\n'''\n\n'''sh\nsleep 0.5\n'''\n", "ended with status 9"},
		"a failure with one running": {"<!-- docs-test: background -->\n'''sh\nsleep 60\n'''\n\n'''sh\nfalse\n'''\n", "line 6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runSample(t, emptySession(t), strings.ReplaceAll(c.document, "'''", "```"), c.fault)
		})
	}
}

// A document that hangs is ended, and so is what it has started; by force if need be.
func TestDocumentThatHangs(t *testing.T) {
	for name, c := range map[string]struct {
		ignore   string
		patience time.Duration
		orderly  bool
	}{
		"heeding":  {"", 0, true},
		"ignoring": {"trap '' TERM\n", time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := emptySession(t)
			s.patience = c.patience
			fences, err := readFences(strings.ReplaceAll(`<!-- docs-test: background -->
'''sh
bash -c 'echo $$ >>pids; exec sleep 4000'
'''

'''sh
until test -s pids; do sleep 0.05; done
`+c.ignore+`bash -c 'echo $$ >>pids; exec sleep 5000'
'''
`, "'''", "```"))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- s.run(ctx, fences) }()
			pids := filepath.Join(s.root, "pids")
			eventually(t, time.Minute, "the block that hangs", func() bool {
				text, _ := os.ReadFile(pids)
				return strings.Count(string(text), "\n") == 2
			})
			cancel()
			err = <-ended
			if err == nil || !strings.Contains(err.Error(), "did not end in time") || !strings.Contains(err.Error(), "line 6: the block did not get to its end") {
				t.Errorf("%v", err)
			}
			gone(t, pids)
			if h := s.history(); c.orderly && (h.status[0] != 128+int(syscall.SIGTERM) || len(h.running) > 0) {
				t.Errorf("what it has started: %+v", h)
			}
		})
	}
}

// gone wants the processes whose ids are in the file to have ended. It gives their
// number.
func gone(t *testing.T, file string) (n int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "the end of process "+field, func() bool {
			return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
		})
		n++
	}
	return n
}
