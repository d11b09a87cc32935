// Package local runs Revocast's development stack for the time of a load test, as a
// user would: by the command `revocast dev`, and through the issuer's HTTP interface.
//
// Invariants:
//
//   - What is started is stopped, on Linux also when this process is killed. It keeps
//     its files in a temporary directory of its own, which it removes.
//   - The REVOCAST_ variables of whoever runs this do not reach it.
package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Who logs in: users and clients of every development stack. This protects nothing.
const (
	username = "alice"
	password = "wonderland-42"
	clientID = "demo-mobile"
)

const (
	startWithin = time.Minute
	stopWithin  = 30 * time.Second
	callWithin  = 30 * time.Second
	maxAnswer   = 64 << 10
)

// Stack is a development stack that runs.
type Stack struct {
	cmd    *exec.Cmd
	stop   context.CancelFunc
	stderr *tail
	issuer string

	// SidecarURL is the base of the first sidecar, without a slash at the end.
	SidecarURL string
}

// Start runs the program revocast of the directory bin and returns when issuer,
// broker and sidecars are ready. If ctx ends first, what was started is stopped.
func Start(ctx context.Context, bin string) (*Stack, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	path := filepath.Join(bin, "revocast")
	cmd := exec.CommandContext(life, path, "dev", "-o", "json") //nolint:gosec // the program beside this one
	cmd.Env, cmd.SysProcAttr = environment(), attributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWithin
	s := &Stack{cmd: cmd, stop: stop, stderr: &tail{}}
	cmd.Stderr = s.stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("starting the local stack: %w", err)
	}
	// Its first output says that it is ready. Should it be stopped, that ends.
	disarm := context.AfterFunc(ctx, stop)
	err = s.read(stdout)
	disarm()
	if err != nil {
		return nil, fmt.Errorf("starting the local stack: %w", errors.Join(cmp.Or(context.Cause(ctx), err), s.end()))
	}
	return s, nil
}

func (s *Stack) read(stdout io.Reader) error {
	var says struct {
		IssuerURL   string   `json:"issuer_url"`
		SidecarURLs []string `json:"sidecar_urls"`
	}
	if err := json.NewDecoder(io.LimitReader(stdout, maxAnswer)).Decode(&says); err != nil {
		return errors.New("it did not get ready")
	}
	if says.IssuerURL == "" || len(says.SidecarURLs) == 0 {
		return errors.New("it did not say where it listens")
	}
	s.issuer, s.SidecarURL = says.IssuerURL, says.SidecarURLs[0]
	return nil
}

// Stop stops the stack and waits until it is gone, at most half a minute; then it is
// killed. A stack that had ended by itself is an error.
func (s *Stack) Stop() error {
	if err := s.end(); err != nil {
		return fmt.Errorf("stopping the local stack: %w", err)
	}
	return nil
}

func (s *Stack) end() error {
	s.stop()
	switch err := s.cmd.Wait(); {
	case errors.Is(err, context.Canceled):
		return nil // it stopped as it was told to
	case err == nil:
		return errors.New("it had ended by itself")
	default:
		return fmt.Errorf("%w\n%s", err, s.stderr)
	}
}

// environment is this process's without what configures Revocast.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "REVOCAST_") {
			env = append(env, v)
		}
	}
	return env
}

// LogIn opens as many sessions and gives an access token of each, and how long the
// first of them to expire is accepted.
func (s *Stack) LogIn(ctx context.Context, sessions int) (tokens []string, valid time.Duration, err error) {
	client := &http.Client{Timeout: callWithin, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	began := time.Now()
	for range sessions {
		token, lifetime, err := s.logIn(ctx, client)
		if err != nil {
			return nil, 0, fmt.Errorf("logging in at %s: %w", s.issuer, err)
		}
		if tokens = append(tokens, token); valid == 0 || lifetime < valid {
			valid = lifetime
		}
	}
	return tokens, valid - time.Since(began), nil
}

func (s *Stack) logIn(ctx context.Context, client *http.Client) (token string, lifetime time.Duration, err error) {
	body, err := json.Marshal(map[string]string{"username": username, "password": password, "client_id": clientID})
	if err != nil {
		return "", 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.issuer+"/v1/login", bytes.NewReader(body))
	if err != nil {
		return "", 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = answer.Body.Close() }() // read as far as it is wanted
	if answer.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("refused with %s", answer.Status)
	}
	var says struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	// The decoder's report could repeat a part of the token.
	if json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&says) != nil || says.AccessToken == "" || says.ExpiresIn <= 0 {
		return "", 0, errors.New("the answer is no token response")
	}
	return says.AccessToken, time.Duration(says.ExpiresIn) * time.Second, nil
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

const tailSize = 4 << 10

// Write implements [io.Writer].
func (t *tail) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b...)
	t.kept = t.kept[max(0, len(t.kept)-tailSize):]
	return len(b), nil
}

// String must not be called before the writer is done.
func (t *tail) String() string { return string(bytes.TrimSpace(t.kept)) }
