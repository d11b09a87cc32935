package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/revocast/revocast/services/internal/app" //nolint:depguard // what is tested here
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/config"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/stack"
)

const (
	alice, alicePassword = "alice", "wonderland-42"
	bob, bobPassword     = "bob", "builder-42"
	carol, carolPassword = "carol", "carol-singer-42"

	audience = "https://api.revocast.test"
	// mobile and tablet are public and log users in; hasty has no grace window.
	mobile, tablet, hasty = "mobile", "tablet", "hasty"
	// bank allows one session at a time, strict refuses the second.
	bank, strict = "bank", "strict"
	// backend is confidential.
	backend, backendSecret = "backend", "backend-secret-of-the-test"

	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"

	// patience is how long a test waits for what must come.
	patience = 2 * time.Minute
)

const clientsFile = `clients:
  - {id: mobile, type: public, grants: [refresh_token], first_party_login: true, scopes: [read, write], audiences: ["` + audience + `"]}
  - {id: tablet, type: public, grants: [refresh_token], first_party_login: true, scopes: [read], audiences: ["` + audience + `"]}
  - {id: hasty, type: public, grants: [refresh_token], first_party_login: true, rotation_grace: 0s, audiences: ["` + audience + `"]}
  - {id: bank, type: public, grants: [refresh_token], first_party_login: true, scopes: [read, pay], audiences: ["` + audience + `"], single_session: true, high_grade_for: 1m, high_grade_scopes: [pay]}
  - {id: strict, type: public, grants: [refresh_token], first_party_login: true, audiences: ["` + audience + `"], max_sessions: 1, on_limit: refuse, device_id: required}
  - {id: mute, type: public, first_party_login: true, audiences: ["` + audience + `"]}
  - {id: backend, type: confidential, grants: [refresh_token], secret_hash: "$HASH", audiences: ["` + audience + `"]}
`

// users have hashes that cost little, but for carol, whose password the issuer hashes
// as it does by default.
func users(t *testing.T) string {
	t.Helper()
	cheap, err := password.New(password.Config{Memory: 64, Time: 1})
	if err != nil {
		t.Fatal(err)
	}
	hash := func(text string) string {
		phc, err := cheap.Hash(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		return phc
	}
	return fmt.Sprintf("users:\n  - {username: %s, password_hash: %q, roles: [reader]}\n  - {username: %s, password_hash: %q}\n  - {username: %s, password: %s}\n",
		alice, hash(alicePassword), bob, hash(bobPassword), carol, carolPassword)
}

// issuer is one issuer of a test: the real thing, in this process, on free ports.
type issuer struct {
	config.Config

	public, admin string // URLs
	log           *record
	// stop ends the issuer in good order, once, and gives what Run gave.
	stop func() error
}

// record keeps what an issuer logs.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *record) logger() *zap.Logger {
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(r), zap.DebugLevel))
}

// configure makes the configuration of a first issuer below dir, with an embedded
// broker unless more says otherwise.
func configure(t *testing.T, dir string, more ...string) config.Config {
	t.Helper()
	write(t, filepath.Join(dir, "clients.yaml"), strings.Replace(clientsFile, "$HASH", clients.HashSecret(backendSecret), 1))
	write(t, filepath.Join(dir, "users.yaml"), users(t))
	return configured(t, dir, append([]string{
		"--clients", filepath.Join(dir, "clients.yaml"), "--users", filepath.Join(dir, "users.yaml"),
		// Tests come from one address and fail a lot; those of the limits set them.
		"--throttle-login", "off", "--throttle-user", "off", "--throttle-address", "off", "--throttle-refresh", "off",
	}, more...)...)
}

// configured is an issuer of neither clients nor users.
func configured(t *testing.T, dir string, more ...string) config.Config {
	t.Helper()
	ports, err := stack.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	address := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	args := append([]string{
		"--canary-interval", "0", "--listen", address(0), "--admin-listen", address(1), "--metrics-listen", address(2), "--nats-listen", address(3),
		"--data-dir", filepath.Join(dir, "data"), "--keys-dir", filepath.Join(dir, "keys"), "--realm", "test",
	}, more...)
	c, err := config.Parse(args, "test", func(int) {}, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// replica is the configuration of one more issuer on the broker of a.
func replica(t *testing.T, a config.Config) config.Config {
	t.Helper()
	return joining(configure(t, t.TempDir(), "--issuer", a.Issuer), a)
}

// joining gives b what it takes to be a replica of a.
func joining(b, a config.Config) config.Config {
	b.NATSURL, b.NATSCreds = a.NATSURL, a.NATSCreds
	if a.NATSURL == "" {
		b.NATSURL, b.NATSCreds = "nats://"+a.NATSListen, filepath.Join(a.CredsDir, "issuer.creds")
	}
	b.KeysDir, b.AdminTokenFile = a.KeysDir, a.AdminTokenFile
	return b
}

// launch starts an issuer and returns at once; it is stopped when the test ends.
func launch(t *testing.T, c config.Config) *issuer {
	t.Helper()
	i, err := open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.stop(); err != nil {
			t.Errorf("stopping the issuer: %v", err)
		}
		if t.Failed() {
			t.Logf("issuer on %s logged:\n%s", c.Listen, i.log)
		}
	})
	return i
}

func open(ctx context.Context, c config.Config) (*issuer, error) {
	return openLogging(ctx, c, &record{})
}

// openLogging is for who reads the log while the issuer is still being opened.
func openLogging(ctx context.Context, c config.Config, log *record) (*issuer, error) {
	i := &issuer{Config: c, public: "http://" + c.Listen, admin: "http://" + c.AdminListen, log: log}
	a, err := app.New(ctx, c, i.log.logger())
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(run) }()
	i.stop = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		a.Close()
		return err
	})
	return i, nil
}

// start launches an issuer and waits until it calls itself ready.
func start(t *testing.T, c config.Config) *issuer {
	t.Helper()
	i := launch(t, c)
	i.waitFor(t, http.StatusOK)
	return i
}

// waitFor waits until readiness is answered with the status.
func (i *issuer) waitFor(t *testing.T, status int) {
	t.Helper()
	eventually(t, func() error {
		got, err := send(request{method: "GET", url: i.public + "/readyz"})
		if err == nil && got.status != status {
			err = fmt.Errorf("%s/readyz: %d, want %d", i.public, got.status, status)
		}
		return err
	})
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", patience, err)
		}
		<-tick.C
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// operatorToken reads the token that the issuer made.
func (i *issuer) operatorToken(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(i.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// request is one HTTP request, body and headers as they are.
type request struct {
	method, url string
	bearer      string
	contentType string
	body        string
	header      http.Header
}

// reply is one answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// send does not follow redirects: where they lead is the answer.
func send(r request) (reply, error) {
	out, err := http.NewRequest(r.method, r.url, strings.NewReader(r.body)) //nolint:noctx // bounded by the client
	if err != nil {
		return reply{}, err
	}
	maps.Copy(out.Header, r.header)
	if r.bearer != "" {
		out.Header.Set("Authorization", "Bearer "+r.bearer)
	}
	if r.contentType != "" {
		out.Header.Set("Content-Type", r.contentType)
	}
	client := &http.Client{
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	in, err := client.Do(out)
	if err != nil {
		return reply{}, err
	}
	body, err := io.ReadAll(in.Body)
	return reply{in.StatusCode, in.Header, string(body)}, errors.Join(err, in.Body.Close())
}

func must(t *testing.T, r request) reply {
	t.Helper()
	got, err := send(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.url, err)
	}
	return got
}

// want fails unless the answer has the status.
func (r reply) want(t *testing.T, status int) reply {
	t.Helper()
	if r.status != status {
		t.Fatalf("got %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// tokens is what a login or a refresh answers.
type tokens struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"`
	Refresh   string `json:"refresh_token"`
	Scope     string `json:"scope"`
	Session   string `json:"session_id"`
}

func decode[T any](t *testing.T, r reply) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return v
}

func object(pairs ...string) string {
	m := map[string]string{}
	for pair := range slices.Chunk(pairs, 2) {
		m[pair[0]] = pair[1]
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func form(pairs ...string) string {
	v := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		v.Add(pair[0], pair[1])
	}
	return v.Encode()
}

func (i *issuer) postJSON(t *testing.T, path string, pairs ...string) reply {
	t.Helper()
	return must(t, request{method: "POST", url: i.public + path, contentType: jsonType, body: object(pairs...)})
}

func (i *issuer) postForm(t *testing.T, path string, pairs ...string) reply {
	t.Helper()
	return must(t, request{method: "POST", url: i.public + path, contentType: formType, body: form(pairs...)})
}

func (i *issuer) call(t *testing.T, method, path, token string) reply {
	t.Helper()
	return must(t, request{method: method, url: i.public + path, bearer: token})
}

func (i *issuer) operate(t *testing.T, method, path, body string) reply {
	t.Helper()
	return must(t, request{method: method, url: i.admin + path, bearer: i.operatorToken(t), contentType: jsonType, body: body})
}

func (i *issuer) login(t *testing.T, more ...string) tokens {
	t.Helper()
	pairs := append([]string{"username", alice, "password", alicePassword, "client_id", mobile}, more...)
	return decode[tokens](t, i.postJSON(t, "/v1/login", pairs...).want(t, 200))
}

func (i *issuer) refresh(t *testing.T, token, client string) reply {
	t.Helper()
	return i.postForm(t, "/oauth/token", "grant_type", "refresh_token", "refresh_token", token, "client_id", client)
}
