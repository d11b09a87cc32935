package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// binaries is the flag of commands that start programs.
type binaries struct {
	BinDir string `placeholder:"DIR" help:"Where the programs issuer and sidecar are; default: beside this one."`
}

func (b binaries) dir() (string, error) {
	if b.BinDir != "" {
		return b.BinDir, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the programs: %w", err)
	}
	return filepath.Dir(self), nil
}

type demoCommand struct {
	binaries
}

func (*demoCommand) Help() string {
	return `Starts an issuer with its embedded broker and two sidecars, as processes of their own, on free ports of this machine and in a temporary directory. Then it logs in, is let through by both sidecars, refreshes, revokes the session and is turned away by both. Everything is measured. In the end everything is stopped and removed; the exit status is 0 only if every step held.

Examples:

  revocast demo
  revocast demo -o json
`
}

// Bounds on what the demo waits for.
const (
	startWithin = 60 * time.Second
	denyWithin  = 10 * time.Second
	logLines    = 15
)

func (c *demoCommand) Run(ctx context.Context, t *terminal) (err error) {
	bin, err := c.dir()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "revocast-demo-")
	if err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &story{line: newTimeline(t, "Revocast demo: real processes on free ports, below "+dir)}
	err = s.tell(ctx, stack.Config{Dir: dir, BinDir: bin, Sidecars: 2})
	if err != nil && ctx.Err() == nil && t.failed == nil {
		s.logs(t.err)
	}
	return errors.Join(err, s.line.end(err == nil))
}

// story is one run of the demo.
type story struct {
	line  *timeline
	stack *stack.Stack

	issuer, admin *api
	login, fresh  tokens
}

// tell runs the story to its end or to the first step that does not hold, and stops
// what it started.
func (s *story) tell(ctx context.Context, cfg stack.Config) error {
	if err := s.step("start", func() (string, error) { return s.start(ctx, cfg) }); err != nil {
		return err
	}
	err := s.act(ctx)
	stop := s.step("stop", func() (string, error) {
		return "every process ended when told to", s.stack.Stop(context.WithoutCancel(ctx))
	})
	return errors.Join(err, stop)
}

func (s *story) act(ctx context.Context) error {
	for _, a := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"log in", s.logIn},
		{"pass", func(ctx context.Context) (string, error) { return s.pass(ctx, s.login) }},
		{"refresh", s.refresh},
		{"pass", func(ctx context.Context) (string, error) { return s.pass(ctx, s.fresh) }},
	} {
		if err := s.step(a.name, func() (string, error) { return a.do(ctx) }); err != nil {
			return err
		}
	}
	if err := s.revoke(ctx); err != nil {
		return err
	}
	if err := s.step("deny", func() (string, error) { return s.oldDenied(ctx) }); err != nil {
		return err
	}
	return s.step("refresh", func() (string, error) { return s.refreshRefused(ctx) })
}

// step runs one step and records how it went.
func (s *story) step(name string, do func() (string, error)) error {
	began := time.Now()
	detail, err := do()
	if err != nil {
		s.line.fail(began, name, err)
		return fmt.Errorf("step %q: %w", name, err)
	}
	s.line.add(began, time.Now(), name, detail)
	return s.line.t.failed
}

func (s *story) start(ctx context.Context, cfg stack.Config) (_ string, err error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if s.stack, err = stack.Start(ctx, cfg); err != nil {
		return "", err
	}
	token, err := s.stack.AdminToken()
	if err != nil {
		return "", err
	}
	s.issuer, err = newAPI(s.stack.Issuer().URL(), "", false)
	if err != nil {
		return "", err
	}
	s.admin, err = newAPI(s.stack.Issuer().AdminURL(), token, false)
	return fmt.Sprintf("issuer with embedded broker, %d sidecars; all ready", cfg.Sidecars), err
}

func (s *story) logIn(ctx context.Context) (_ string, err error) {
	s.login, err = login(ctx, s.issuer, map[string]string{
		"username": stack.Alice, "password": stack.AlicePassword, "client_id": stack.MobileClient, "device_name": "demo",
	})
	return fmt.Sprintf("%s on %s: session %s", stack.Alice, stack.MobileClient, s.login.SessionID), err
}

// pass asks every sidecar for the same token, which all must let through.
func (s *story) pass(ctx context.Context, k tokens) (string, error) {
	var details []string
	for _, srv := range s.stack.Sidecars() {
		sidecar, err := newAPI(srv.URL(), k.AccessToken, false)
		if err != nil {
			return "", err
		}
		began := time.Now()
		v, err := ask(ctx, sidecar)
		if err != nil {
			return "", err
		}
		if v.Verdict != verdictPass {
			return "", fmt.Errorf("%s answers %d %s", srv.Name, v.Status, v.Challenge)
		}
		details = append(details, fmt.Sprintf("%s 200 (%.1f ms)", srv.Name, milliseconds(time.Since(began))))
	}
	return strings.Join(details, ", "), nil
}

func (s *story) refresh(ctx context.Context) (_ string, err error) {
	s.fresh, err = refresh(ctx, s.issuer, url.Values{
		"refresh_token": {s.login.RefreshToken}, "client_id": {stack.MobileClient},
	})
	if err == nil && (s.fresh.AccessToken == s.login.AccessToken || s.fresh.RefreshToken == s.login.RefreshToken) {
		err = errors.New("the tokens are the old ones")
	}
	return "new access token, refresh token rotated", err
}
