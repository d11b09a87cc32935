package reload_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/revocast/revocast/services/internal/reload"
)

const (
	limit    = 1 << 10
	patience = 20 * time.Second
)

// watched is a file under watch, and what was read whenever it was called changed.
type watched struct {
	name  string
	heard chan string
}

func watch(t *testing.T, name string) watched {
	t.Helper()
	w := watched{name, make(chan string, 100)}
	f := reload.Open(name, limit, zaptest.NewLogger(t))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx, func() {
			text, err := os.ReadFile(name)
			if err != nil {
				text = []byte("gone")
			}
			w.heard <- string(text)
		}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(stop)
	return w
}

// hears waits until the content is reported; nothing else may be before.
func (w watched) hears(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-w.heard:
		if got != want {
			t.Fatalf("heard of %q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("did not hear of %q", want)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Each step is heard of once and nothing between them: what changes nothing is
// followed by what does, and only that is reported.
func TestWays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "clients.yaml")
	write(t, name, "one")
	w := watch(t, name)

	write(t, name, "two")
	w.hears(t, "two")

	write(t, name, "two") // again
	must(t, os.Chmod(name, 0o640))
	write(t, filepath.Join(dir, "another.yaml"), "x")
	write(t, filepath.Join(dir, "new"), "three")
	must(t, os.Rename(filepath.Join(dir, "new"), name))
	w.hears(t, "three")

	must(t, os.Remove(name))
	w.hears(t, "gone")
	write(t, name, "three")
	w.hears(t, "three")

	must(t, os.Rename(name, name+"~")) // as editors do
	write(t, name, "four")
	w.hears(t, "four")
}

// Kubernetes mounts a ConfigMap as links to a directory that it exchanges.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(version, text string) {
		must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		write(t, filepath.Join(dir, version, "clients.yaml"), text)
		must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("..2026_01", "one")
	must(t, os.Symlink(filepath.Join("..data", "clients.yaml"), filepath.Join(dir, "clients.yaml")))
	w := watch(t, filepath.Join(dir, "clients.yaml"))
	for n, text := range []string{"two", "three"} {
		version([]string{"..2026_02", "..2026_03"}[n], text)
		w.hears(t, text)
		must(t, os.RemoveAll(filepath.Join(dir, []string{"..2026_01", "..2026_02"}[n])))
	}
}

// The content may lie in another directory, and then in yet another.
func TestLinks(t *testing.T) {
	t.Parallel()
	here, there, elsewhere := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(there, "a"), "one")
	write(t, filepath.Join(elsewhere, "b"), "two")
	name := filepath.Join(here, "clients.yaml")
	must(t, os.Symlink(filepath.Join(there, "a"), name))
	w := watch(t, name)
	write(t, filepath.Join(there, "a"), "one and a half")
	w.hears(t, "one and a half")
	must(t, os.Symlink(filepath.Join(elsewhere, "b"), name+"~"))
	must(t, os.Rename(name+"~", name))
	w.hears(t, "two")
	write(t, filepath.Join(elsewhere, "b"), "three")
	w.hears(t, "three")
}

// A file that is being written is read when its writer has stopped.
func TestHalfAFileIsNotRead(t *testing.T) {
	t.Parallel()
	const rest = 250 * time.Millisecond // what a file must have
	name := filepath.Join(t.TempDir(), "clients.yaml")
	write(t, name, "one")
	w := watch(t, name)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	want, last, longest := "", time.Now(), time.Duration(0)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 40 {
		<-tick.C
		_, err := file.WriteString("line\n")
		must(t, err)
		want += "line\n"
		longest, last = max(longest, time.Since(last)), time.Now()
	}
	must(t, file.Close())
	if longest < rest/2 {
		w.hears(t, want)
		return
	}
	// The machine was too busy for this writer to write without a rest.
	for deadline := time.After(patience); ; {
		select {
		case got := <-w.heard:
			if got == want {
				return
			}
		case <-deadline:
			t.Fatal("did not hear of the whole file")
		}
	}
}

// Where nothing can be watched, nothing breaks.
func TestNoDirectory(t *testing.T) {
	t.Parallel()
	watch(t, filepath.Join(t.TempDir(), "none", "clients.yaml"))
}
