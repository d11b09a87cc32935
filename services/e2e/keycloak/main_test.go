package keycloak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// home is the variable that says where Keycloak was unpacked.
const home = "REVOCAST_KEYCLOAK"

// bin holds the binaries under test, built once.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv(home) == "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "revocast-keycloak-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bin = dir
	for _, b := range []struct{ module, pkg string }{
		{"../..", "./cmd/issuer"}, {"../..", "./cmd/revocast"}, {"../../../sidecar", "./cmd/sidecar"},
	} {
		cmd := exec.CommandContext(context.Background(), "go", "build", "-o", dir+"/", b.pkg)
		cmd.Dir = b.module
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building %s: %v\n%s", b.pkg, err, out)
			return 1
		}
	}
	return m.Run()
}

// answer is what a request came back with.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("got %s, want %d", a, status)
	}
	return a
}

// send sends a request and reads all of the answer. A connection that fails is status 0.
func send(ctx context.Context, client *http.Client, method, address string, header http.Header, body string) answer {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	return answer{resp.StatusCode, resp.Header, content}
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func form() http.Header { return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}} }

// plain is a client that follows no redirect.
func plain() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// revocast runs the command-line tool and gives its standard output.
func revocast(t *testing.T, status int, stdin string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "revocast"), args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	got := 0
	if exit, is := errors.AsType[*exec.ExitError](err); is {
		got = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if got != status {
		t.Fatalf("revocast %s: exit status %d, want %d\n%s%s", args, got, status, out.String(), errs.String())
	}
	return out.Bytes()
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
