//go:build linux

package footprint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build gives the program as `make build` makes it.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sidecar")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "./cmd/sidecar")
	cmd.Dir, cmd.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the sidecar: %v\n%s", err, out)
	}
	return path
}

// sidecar is a running one.
type sidecar struct {
	cmd         *exec.Cmd
	log         bytes.Buffer // until it has ended, the process's own
	watch       *watch
	admin, auth *http.Client
	ready       time.Duration // from its start until /readyz said so
}

// rig is what sidecars are started with.
type rig struct {
	program, trust string
	broker         broker
	root           string // file with the realm's root key; empty: no snapshot is believed
}

// start runs a sidecar on a store and returns as soon as it is ready.
func (r rig) start(t *testing.T, store string) *sidecar {
	t.Helper()
	sockets := t.TempDir()
	at := func(name string) string { return filepath.Join(sockets, name) }
	s := &sidecar{admin: over(at("admin")), auth: over(at("auth"))}
	args := []string{
		"--listen", "unix:" + at("auth"), "--grpc-listen", "unix:" + at("grpc"), "--admin-listen", "unix:" + at("admin"),
		"--nats-url", r.broker.URL, "--nats-creds", r.broker.Creds, "--realm", "test",
		"--trust", r.trust, "--data-dir", store, "--id", "footprint",
	}
	if r.root != "" {
		args = append(args, "--realm-root", r.root)
	}
	s.cmd = exec.CommandContext(t.Context(), r.program, args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.watch = watchMemory(s.cmd.Process.Pid)
	s.await(t, "ready", func() bool {
		answer, err := s.get(s.admin, "/readyz", "")
		return err == nil && answer.status == http.StatusOK
	})
	s.ready = time.Since(began)
	return s
}

// over gives a client of a Unix socket.
func over(path string) *http.Client {
	var d net.Dialer
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: callers,
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
	}}
}

// answer is what came back.
type answer struct {
	status int
	body   []byte
}

func (s *sidecar) get(c *http.Client, path, token string) (answer, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://sidecar"+path, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, body}, errors.Join(err, resp.Body.Close())
}

// patience is how long anything is waited for.
const patience = 5 * time.Minute

// await polls every two milliseconds until done.
func (s *sidecar) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			s.kill()
			t.Fatalf("not %s after %v; the sidecar says:\n%s", what, patience, &s.log)
		case <-tick.C:
		}
	}
}

// status is the part of GET /v1/status that is asked for here.
type status struct {
	Entries map[string]int `json:"entries"`
	Memory  struct {
		IndexBytes int  `json:"index_bytes"`
		Complete   bool `json:"index_complete"`
	} `json:"memory"`
	Store struct {
		Queued int    `json:"queued"`
		Error  string `json:"error"`
	} `json:"store"`
}

func (s *sidecar) status(t *testing.T) (v status) {
	t.Helper()
	a, err := s.get(s.admin, "/v1/status", "")
	if err == nil {
		err = json.Unmarshal(a.body, &v)
	}
	if err != nil || v.Store.Error != "" {
		t.Fatalf("status %s: %v", a.body, err)
	}
	return v
}

// settle waits until the index is whole and everything is on disk, and for the second in
// which the sidecar gives back what that took.
func (s *sidecar) settle(t *testing.T) (v status, took time.Duration) {
	t.Helper()
	began := time.Now()
	s.await(t, "settled", func() bool {
		v = s.status(t)
		return v.Memory.Complete && v.Store.Queued == 0
	})
	took = time.Since(began)
	time.Sleep(time.Second)
	return v, took
}

// stop ends the sidecar in an orderly way.
func (s *sidecar) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("the sidecar ended: %v\n%s", err, &s.log)
	}
	s.watch.stop()
}

// kill ends it at once.
func (s *sidecar) kill() {
	_ = s.cmd.Process.Kill() // it may have ended by itself
	_ = s.cmd.Wait()         // it was killed
	s.watch.stop()
}

// watch follows a process's memory.
type watch struct {
	pid  int
	done chan struct{}
	over sync.WaitGroup

	mu   sync.Mutex
	most int
}

// watchMemory looks every five milliseconds.
func watchMemory(pid int) *watch {
	w := &watch{pid: pid, done: make(chan struct{})}
	w.over.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			if now, err := w.anonymous(); err == nil { // it may be gone
				w.mu.Lock()
				w.most = max(w.most, now)
				w.mu.Unlock()
			}
			select {
			case <-w.done:
				return
			case <-tick.C:
			}
		}
	})
	return w
}

func (w *watch) stop() {
	close(w.done)
	w.over.Wait()
}

// peak is the most there has been since it was last asked, in bytes.
func (w *watch) peak() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := w.most
	w.most = 0
	return most
}

// anonymous is RssAnon, in bytes.
func (w *watch) anonymous() (int, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		if kB, is := strings.CutPrefix(line, "RssAnon:"); is {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kB), " kB"))
			return n << 10, err
		}
	}
	return 0, errors.New("no RssAnon")
}
