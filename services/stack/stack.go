package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// Config says what to run and where.
type Config struct {
	// Dir holds everything. It is made with mode 0700 if it is not there; nothing
	// here ever removes it.
	Dir string
	// BinDir holds the programs issuer and sidecar.
	BinDir string
	// Sidecars is how many to start.
	Sidecars int
	// IssuerPorts and SidecarPorts fix the ports of the first issuer and of the
	// first sidecars. What is zero or missing is picked among the free ones.
	IssuerPorts  Ports
	SidecarPorts []Ports
	// IssuerFlags and SidecarFlags are added to those of every issuer and sidecar.
	IssuerFlags, SidecarFlags []string
	// Control starts issuers in control mode, without clients and users. Sidecars then
	// need a --trust among their flags: issuers in this mode sign nothing.
	Control bool
	// Env is added to the environment of every process, as "NAME=value".
	Env []string
	// BrokerURL is a NATS server that runs already, whose credentials lie in
	// Dir/creds. Empty means that the first issuer embeds one.
	BrokerURL string
}

// Stack is a set of servers that work together. It must not be used concurrently;
// its servers may.
type Stack struct {
	cfg      Config
	dir      Dir
	broker   string
	client   *http.Client
	issuers  []*Server
	sidecars []*Server
	started  []*Server
	picked   map[int]bool
}

// Start brings up an issuer and cfg.Sidecars sidecars and returns when all are
// ready. If that fails or ctx ends first, whatever was started is stopped again.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	var errDir, errBin error
	cfg.Dir, errDir = filepath.Abs(cfg.Dir)
	cfg.BinDir, errBin = filepath.Abs(cfg.BinDir)
	if err := errors.Join(errDir, errBin); err != nil {
		return nil, fmt.Errorf("finding directories: %w", err)
	}
	s := &Stack{
		cfg: cfg, dir: Dir(cfg.Dir), broker: cfg.BrokerURL,
		picked: make(map[int]bool),
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	if err := errors.Join(s.program("issuer"), s.program("sidecar"), cfg.checkPorts()); err != nil {
		return nil, err
	}
	if err := s.dir.seed(); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	if _, err := s.AddIssuer(ctx); err != nil {
		return err
	}
	// A sidecar is ready a heartbeat after it has started; that wait is shared.
	errs := make([]error, s.cfg.Sidecars)
	var waiting sync.WaitGroup
	for i := range s.cfg.Sidecars {
		srv, err := s.newSidecar()
		if err != nil {
			errs[i] = err
			break
		}
		waiting.Go(func() { errs[i] = srv.Up(ctx) })
	}
	waiting.Wait()
	return errors.Join(errs...)
}

// AddIssuer starts an issuer that shares the first one's broker, keys, clients and
// users, and waits until it is ready. Its flags override the usual ones.
func (s *Stack) AddIssuer(ctx context.Context, flags ...string) (*Server, error) {
	ports := Ports{}
	if len(s.issuers) == 0 {
		ports = s.cfg.IssuerPorts
	}
	srv := s.server("issuer", len(s.issuers))
	wanted := []*int{&ports.HTTP, &ports.Admin, &ports.Metrics}
	if s.broker == "" {
		wanted = append(wanted, &ports.NATS)
	}
	if err := s.fill(wanted...); err != nil {
		return nil, err
	}
	srv.Ports, srv.readyPort = ports, ports.HTTP
	s.issuers = append(s.issuers, srv)
	own := []string{
		"--listen", address(ports.HTTP), "--admin-listen", address(ports.Admin), "--metrics-listen", address(ports.Metrics),
		"--issuer", s.Issuer().URL(), "--realm", Realm, "--data-dir", s.dir.data(srv.Name), "--keys-dir", s.dir.Keys(),
		"--admin-token-file", s.dir.AdminToken(),
	}
	if s.cfg.Control {
		own = append(own, "--mode", "control")
	} else {
		own = append(own, "--clients", s.dir.Clients(), "--users", s.dir.Users())
	}
	if s.broker == "" {
		s.broker = srv.NATSURL()
		own = append(own, "--nats-listen", address(ports.NATS), "--creds-dir", s.dir.Creds())
	} else {
		own = append(own, "--nats-url", s.broker, "--nats-creds", s.dir.Credentials("issuer"))
	}
	srv.kept = slices.Concat(own, s.cfg.IssuerFlags, flags)
	srv.Args = srv.kept
	if err := srv.Up(ctx); err != nil {
		return nil, err
	}
	return srv, s.dir.pinRealmRoot()
}

// AddSidecar starts another sidecar and waits until it is ready. Its flags override
// the usual ones.
func (s *Stack) AddSidecar(ctx context.Context, flags ...string) (*Server, error) {
	srv, err := s.newSidecar(flags...)
	if err != nil {
		return nil, err
	}
	return srv, srv.Up(ctx)
}

func (s *Stack) newSidecar(flags ...string) (*Server, error) {
	n := len(s.sidecars)
	var ports Ports
	if n < len(s.cfg.SidecarPorts) {
		ports = s.cfg.SidecarPorts[n]
	}
	if err := s.fill(&ports.HTTP, &ports.GRPC, &ports.Admin); err != nil {
		return nil, err
	}
	srv := s.server("sidecar", n)
	srv.Ports, srv.readyPort = ports, ports.Admin
	s.sidecars = append(s.sidecars, srv)
	own := []string{
		"--listen", address(ports.HTTP), "--grpc-listen", address(ports.GRPC), "--admin-listen", address(ports.Admin),
		"--nats-url", s.broker, "--nats-creds", s.dir.Credentials("sidecar"), "--realm", Realm,
		"--realm-root", s.dir.RealmRoot(), "--data-dir", s.dir.data(srv.Name), "--id", srv.Name,
	}
	// Of this one every occurrence counts.
	if !slices.Contains(s.cfg.SidecarFlags, "--trust") && !slices.Contains(flags, "--trust") {
		own = append(own, "--trust", "issuer="+s.Issuer().URL()+",audience="+Audience)
	}
	srv.kept = slices.Concat(own, s.cfg.SidecarFlags, flags)
	srv.Args = srv.kept
	return srv, nil
}

// server makes the n-th server of a program, which is the program's name and, but
// for the first issuer, a number.
func (s *Stack) server(program string, n int) *Server {
	name := program
	if n > 0 || program == "sidecar" {
		name += "-" + strconv.Itoa(n+1)
	}
	srv := &Server{client: s.client, Process: Process{
		Name: name, Path: filepath.Join(s.cfg.BinDir, program),
		Dir: string(s.dir), Env: environment(s.dir.join("tmp"), s.cfg.Env), Log: s.dir.Log(name),
	}}
	s.started = append(s.started, srv)
	return srv
}

func (s *Stack) program(name string) error {
	path := filepath.Join(s.cfg.BinDir, name)
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("looking for the program %s: %w", name, err)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("looking for the program %s: %s cannot be run", name, path)
	}
	return nil
}

// Dir is where everything lies.
func (s *Stack) Dir() Dir { return s.dir }

// BrokerURL is where the broker takes clients.
func (s *Stack) BrokerURL() string { return s.broker }

// Issuer is the first issuer. Its URL is the `iss` of all tokens, and its process
// holds the broker unless Config named another.
func (s *Stack) Issuer() *Server { return s.issuers[0] }

// Sidecars are the sidecars in the order in which they were added.
func (s *Stack) Sidecars() []*Server { return slices.Clone(s.sidecars) }

// Servers are all servers, running or not, in the order in which they were added.
func (s *Stack) Servers() []*Server { return slices.Clone(s.started) }

// AdminToken reads the operator token that the issuer made on its first start.
func (s *Stack) AdminToken() (string, error) {
	token, err := os.ReadFile(s.dir.AdminToken())
	if err != nil {
		return "", fmt.Errorf("reading the operator token: %w", err)
	}
	return string(bytes.TrimSpace(token)), nil
}

// Stop stops every server that runs, the last one first, each as [Process.Stop] does.
// It goes on after an error and returns them all.
func (s *Stack) Stop(ctx context.Context) error {
	var errs []error
	for _, srv := range slices.Backward(s.started) {
		errs = append(errs, srv.Stop(ctx))
	}
	return errors.Join(errs...)
}
