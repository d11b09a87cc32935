//go:build unix

package proxies

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// proxy is one row of the table: how a proxy is started with its configuration.
type proxy struct {
	name string
	// command starts it, in a directory that has deploy/proxies or, if dir is there, in
	// the one below. Its first word is the program's name below REVOCAST_PROXIES. args are
	// only for tests.
	command string
	args    []string
	dir     string
	// files are its configuration, below deploy/proxies.
	files []string
	// swap replaces text in the files, which must have it. An address of a Unix socket
	// must be in a comment of theirs.
	swap [][2]string
	// sidecar are the sidecar's flags besides the usual ones.
	sidecar []string
	// http2 is the port in its files that takes HTTP/2 without TLS, if one does.
	http2 int
	// keeps are names that only look like identity headers and that it cannot remove.
	keeps []string
	// trailers says that it passes trailers on, which are no headers.
	trailers bool
	// frozen and killed are what it answers while the sidecar is that.
	frozen, killed int
}

func (p proxy) program() string {
	name, _, _ := strings.Cut(p.command, " ")
	return name
}

// The ports that deploy/proxies has. Some proxies have one of their own, by which they
// ask.
const (
	portProxy       = 8000
	portOwn         = 8001
	portApplication = 9000
	portSidecar     = 9470
	portGRPC        = 9471
)

// socketDir is where the configurations have Unix sockets.
const socketDir = "/run/revocast"

var anyNumber = regexp.MustCompile(`\b[0-9]{4}\b`)

// rules are what the sidecar demands by route in these tests. Nobody has the role
// nobody, and no view of revocations is as fresh as a nanosecond.
const rules = `
- match: [/public/, GET /health]
  anonymous: true
- match: [/secret/, admin.example/]
  roles: [nobody]
- match: [POST /orders/]
  scopes: [delete]
- match: [/fresh]
  max-stale: 1ns
`

// rig is a proxy in front of an application, with an issuer and a sidecar.
type rig struct {
	*stack.Stack
	proxy    proxy
	app      *application
	sidecar  *stack.Server
	program  string
	address  string // where the proxy listens
	http2    string // and where it takes HTTP/2
	sockets  string // where the sidecar's Unix sockets are
	operator string
}

// start brings all of it up.
func start(t *testing.T, p proxy) *rig {
	t.Helper()
	home := os.Getenv("REVOCAST_PROXIES")
	if home == "" {
		t.Skip("REVOCAST_PROXIES does not say where the proxies are; make proxies installs them and runs this")
	}
	program, err := filepath.Abs(filepath.Join(home, p.program()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%s is not there; scripts/install-proxies.sh %s installs it", program, p.program())
	}
	r := &rig{proxy: p, program: program, app: startApplication(t)}
	r.startStack(t)
	r.address, r.http2 = r.launch(t, r.sidecar.Ports.HTTP, r.sidecar.Ports.GRPC)
	return r
}

// launch starts the proxy, to ask at one of these ports, and returns where it listens once
// it answers.
func (r *rig) launch(t *testing.T, asksHTTP, asksGRPC int) (address, http2 string) {
	t.Helper()
	p, dir := r.proxy, t.TempDir()
	free, err := stack.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	instead := map[int]int{portProxy: free[0], portOwn: free[1], portApplication: r.app.port, portSidecar: asksHTTP, portGRPC: asksGRPC}
	r.configure(t, dir, instead)
	process := &stack.Process{
		Name: p.name, Path: r.program, Args: slices.Concat(strings.Fields(p.command)[1:], p.args), Dir: filepath.Join(dir, p.dir), Log: filepath.Join(dir, "log"),
		// Nothing of the machine's, and a home to write to.
		Env: []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")},
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of %s's log:\n%s", p.name, process.Tail(25))
		}
		if err := process.Kill(); err != nil {
			t.Error(err)
		}
	})
	address, http2 = "127.0.0.1:"+strconv.Itoa(free[0]), "127.0.0.1:"+strconv.Itoa(instead[max(p.http2, portProxy)])
	eventually(t, "an anonymous request through "+p.name, func() bool {
		select {
		case <-process.Done():
			t.Fatalf("%s ended: %v\n%s", p.name, process.Err(), process.Tail(25))
		default:
		}
		return answers(address)
	})
	return address, http2
}

func (r *rig) startStack(t *testing.T) {
	t.Helper()
	var err error
	// Paths of sockets must be short.
	if r.sockets, err = os.MkdirTemp("", "rv"); err != nil { //nolint:usetesting // t.TempDir has the test's name in it
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(r.sockets) })
	dir := t.TempDir()
	file := filepath.Join(dir, "routes.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := []string{"--routes", file}
	for _, flag := range r.proxy.sidecar {
		flags = append(flags, strings.ReplaceAll(flag, socketDir, r.sockets))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r.Stack, err = stack.Start(ctx, stack.Config{
		Dir: filepath.Join(dir, "stack"), BinDir: bin, Sidecars: 1, SidecarFlags: flags,
		Env: []string{"REVOCAST_CANARY_INTERVAL=0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the sidecar's log:\n%s", r.sidecar.Tail(15))
		}
		if err := r.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	r.sidecar = r.Sidecars()[0]
	if r.operator, err = r.AdminToken(); err != nil {
		t.Fatal(err)
	}
}

// configure copies the proxy's files as they are shipped, but for the ports.
func (r *rig) configure(t *testing.T, dir string, instead map[int]int) {
	t.Helper()
	var all strings.Builder
	for _, name := range r.proxy.files {
		name = filepath.Join("deploy", "proxies", name)
		content, err := os.ReadFile(filepath.Join("..", "..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
		text := string(content)
		for _, s := range r.proxy.swap {
			text = strings.ReplaceAll(text, s[0], strings.ReplaceAll(s[1], socketDir, r.sockets))
		}
		text = anyNumber.ReplaceAllStringFunc(text, func(number string) string {
			n, _ := strconv.Atoi(number) // of four digits
			if port, ok := instead[n]; ok {
				return strconv.Itoa(port)
			}
			return number
		})
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range r.proxy.swap {
		if !strings.Contains(all.String(), s[0]) || strings.Contains(s[1], socketDir) && !strings.Contains(all.String(), s[1]) {
			t.Fatalf("the configuration of %s does not have %q, or does not name %q", r.proxy.name, s[0], s[1])
		}
	}
	for _, number := range []int{portProxy, portApplication} {
		if !strings.Contains(all.String(), strconv.Itoa(number)) {
			t.Fatalf("the configuration of %s does not have port %d", r.proxy.name, number)
		}
	}
}

// client keeps connections, as clients do.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answers reports whether a proxy passes an anonymous request.
func answers(address string) bool {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + "/public/up") //nolint:noctx // bounded by the client
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// eventually polls until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(time.Minute); !f(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come to pass in a minute", what)
		}
	}
}

// post sends JSON or a form, and reads a JSON answer into v.
func post(t *testing.T, address, contentType, bearer, body string, want int, v any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Fatalf("%s: %d %s (%v)", address, resp.StatusCode, content, err)
	}
	if err := json.NewDecoder(bytes.NewReader(content)).Decode(v); err != nil {
		t.Fatalf("%s: %v", address, err)
	}
}

// session is a login with the access tokens that it has got.
type session struct {
	id     string
	tokens []string
}

// login opens a session and refreshes it, for several tokens that are good.
func (r *rig) login(t *testing.T, tokens int) session {
	t.Helper()
	var got struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Session string `json:"session_id"`
	}
	body := fmt.Sprintf(`{"username":%q,"password":%q,"client_id":%q}`, stack.Alice, stack.AlicePassword, stack.MobileClient)
	post(t, r.Issuer().URL()+"/v1/login", "application/json", "", body, http.StatusOK, &got)
	s := session{got.Session, []string{got.Access}}
	for len(s.tokens) < tokens {
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {stack.MobileClient}, "refresh_token": {got.Refresh}}
		post(t, r.Issuer().URL()+"/oauth/token", "application/x-www-form-urlencoded", "", form.Encode(), http.StatusOK, &got)
		s.tokens = append(s.tokens, got.Access)
	}
	return s
}

// enforcement is who enforces a revocation.
type enforcement struct {
	Live, Confirmed int
	Missing         []string
}

// end ends a session and waits for receipts, at most for as long as said.
func (r *rig) end(t *testing.T, s session, wait string) enforcement {
	t.Helper()
	var done struct{ Enforcement enforcement }
	post(t, r.Issuer().AdminURL()+"/admin/v1/revocations", "application/json", r.operator,
		fmt.Sprintf(`{"kind":"session","id":%q,"wait":%q}`, s.id, wait), http.StatusCreated, &done)
	return done.Enforcement
}

// revoke ends a session and returns with the receipt: every sidecar enforces it.
func (r *rig) revoke(t *testing.T, s session) time.Duration {
	t.Helper()
	began := time.Now()
	if e := r.end(t, s, "20s"); e.Live != 1 || e.Confirmed != 1 || len(e.Missing) > 0 {
		t.Fatalf("no receipt: %+v", e)
	}
	return time.Since(began)
}

// ask asks the sidecar itself, as a proxy does for a request to /orders.
func (r *rig) ask(t *testing.T, token string) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.sidecar.URL()+"/auth", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for _, prefix := range []string{"X-Forwarded-", "X-Original-"} {
		req.Header.Set(prefix+"Method", http.MethodGet)
		req.Header.Set(prefix+"Host", "api.example")
		req.Header.Set(prefix+"Uri", "/orders")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: r.dial}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the sidecar answers %d", resp.StatusCode)
	}
	return resp.Header
}

// dial connects to the sidecar's forward-auth.
func (r *rig) dial(ctx context.Context, _, address string) (net.Conn, error) {
	if slices.Contains(r.proxy.sidecar, overSocket[1]) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.sockets, "auth.sock"))
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}
