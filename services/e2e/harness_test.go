package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// bin holds the binaries under test, built once; failpointBin an issuer that can
// be stopped between two writes, clockBin one whose clock can be set wrong.
var bin, failpointBin, clockBin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "revocast-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bin, failpointBin, clockBin = filepath.Join(dir, "bin"), filepath.Join(dir, "failpoint"), filepath.Join(dir, "clock")
	for _, b := range []struct{ module, tags, pkg, out string }{
		{"..", "", "./cmd/issuer", bin},
		{"../../sidecar", "", "./cmd/sidecar", bin},
		{"../../sidecar", "", "./internal/fsck/forget", bin},
		{"..", "failpoint", "./cmd/issuer", failpointBin},
		{"..", "clockoffset", "./cmd/issuer", clockBin},
		{"..", "", "./cmd/revocast", bin},
		{"../../loadtest", "", "./cmd/loadtest", bin},
	} {
		if err := os.MkdirAll(b.out, 0o700); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		cmd := exec.CommandContext(context.Background(), "go", "build", "-tags", b.tags, "-o", b.out+"/", b.pkg)
		cmd.Dir = b.module
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building %s: %v\n%s", b.pkg, err, out)
			return 1
		}
	}
	return m.Run()
}

// start runs an issuer with its broker, and sidecars.
func start(t *testing.T, sidecars int, change ...func(*stack.Config)) *stack.Stack {
	t.Helper()
	// Canaries would come between what tests count; who wants one says so by a flag.
	cfg := stack.Config{Dir: t.TempDir(), BinDir: bin, Sidecars: sidecars, Env: []string{"REVOCAST_CANARY_INTERVAL=0"}}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range s.Servers() {
				t.Logf("end of %s's log:\n%s", p.Name, p.Tail(25))
			}
		}
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// answer is what a request came back with.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// tokens reads a token response; without one the test fails.
func (a answer) tokens(t *testing.T) tokens {
	t.Helper()
	var v tokens
	if a.status != http.StatusOK {
		t.Fatalf("no tokens but %s", a)
	}
	if err := json.Unmarshal(a.body, &v); err != nil || v.Access == "" {
		t.Fatalf("no tokens in %s (%v)", a, err)
	}
	return v
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Session string `json:"session_id"`
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 20 * time.Second}

// do sends a request and reads all of the answer. A connection that fails is
// status 0.
func do(t *testing.T, method, address, contentType, bearer string, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: content, took: time.Since(began)}
}

func login(t *testing.T, issuer *stack.Server, extra map[string]string) tokens {
	t.Helper()
	in := map[string]string{"username": stack.Alice, "password": stack.AlicePassword, "client_id": stack.MobileClient}
	maps.Copy(in, extra)
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, http.MethodPost, issuer.URL()+"/v1/login", "application/json", "", string(body)).tokens(t)
}

func refresh(t *testing.T, issuer *stack.Server, token string, extra url.Values) answer {
	t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {stack.MobileClient}, "refresh_token": {token}}
	maps.Copy(form, extra)
	return do(t, http.MethodPost, issuer.URL()+"/oauth/token", "application/x-www-form-urlencoded", "", form.Encode())
}

// revoke asks as operator.
func revoke(t *testing.T, s *stack.Stack, issuer *stack.Server, kind, id string) answer {
	t.Helper()
	operator, err := s.AdminToken()
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"kind":%q,"id":%q}`, kind, id)
	return do(t, http.MethodPost, issuer.AdminURL()+"/admin/v1/revocations", "application/json", operator, body)
}

// auth asks a sidecar.
func auth(t *testing.T, sidecar *stack.Server, token string) answer {
	t.Helper()
	return do(t, http.MethodGet, sidecar.URL()+"/auth", "", token, "")
}

// passes and denies assert a sidecar's verdict.
func passes(t *testing.T, sidecar *stack.Server, token string) {
	t.Helper()
	if a := auth(t, sidecar, token); a.status != http.StatusOK {
		t.Errorf("%s answers %s %s, want 200", sidecar.Name, a, a.header.Get("WWW-Authenticate"))
	}
}

func denies(t *testing.T, sidecar *stack.Server, token string) {
	t.Helper()
	a := auth(t, sidecar, token)
	if challenge := a.header.Get("WWW-Authenticate"); a.status != http.StatusUnauthorized || !strings.Contains(challenge, `error="invalid_token"`) {
		t.Errorf("%s answers %s %s, want 401 invalid_token", sidecar.Name, a, challenge)
	}
}

// firstDenial asks a sidecar without pause until it denies, and gives the time
// since the moment given.
func firstDenial(t *testing.T, sidecar *stack.Server, token string, since time.Time) time.Duration {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if auth(t, sidecar, token).status == http.StatusUnauthorized {
			return time.Since(since)
		}
	}
	t.Fatalf("%s still lets the token pass", sidecar.Name)
	return 0
}

// everywhere runs f for every sidecar at once.
func everywhere(s *stack.Stack, f func(i int, sidecar *stack.Server)) {
	var group sync.WaitGroup
	for i, sidecar := range s.Sidecars() {
		group.Go(func() { f(i, sidecar) })
	}
	group.Wait()
}

func up(t *testing.T, s *stack.Server, flags ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Restart(ctx, flags...); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, s *stack.Server) {
	t.Helper()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until f holds.
func eventually(t *testing.T, within time.Duration, what string, f func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(within); !f(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come to pass within %s", what, within)
		}
	}
}

// contains reports whether a file holds text.
func contains(path, text string) bool {
	content, err := os.ReadFile(path)
	return err == nil && bytes.Contains(content, []byte(text))
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Clone(d)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}
