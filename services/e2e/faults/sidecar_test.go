package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// staleAfter is the shortest that a sidecar accepts.
const staleAfter = 10 * time.Second

// sidecar is one under test: a process that is asked over HTTP, and what can be done to
// it.
type sidecar struct {
	stack.Process
	deny       bool // when stale
	staleLimit time.Duration
	data       string // its directory

	public, admin string
	client        *http.Client

	// cut holds back what it and the broker send each other, heal ends that, drop ends
	// their connections. Each is nil where it cannot be done.
	cut, heal, drop func() error
	// fault lets one fault at a time strike it.
	fault sync.Mutex
	// disk fills and frees the file system that its directory is on, nil where that
	// is another's too.
	disk *disk
	// clock is the file that says how wrong its clock is.
	clock string

	life atomic.Int64
	// troubled counts the faults it suffers, calm is when it last had recovered from
	// all, jumped when its clock was changed, born when it was started (Unix
	// nanoseconds).
	troubled, calm, jumped, born atomic.Int64
	wrong                        atomic.Bool // its clock
}

// place says how a sidecar is reached and reaches the broker.
type place struct {
	unix            bool // it is asked over Unix sockets
	prefix          []string
	broker          func() string
	creds, realm    string
	root, trust     string
	cut, heal, drop func() error
}

// newSidecar describes one; it is not started.
func newSidecar(t *testing.T, dir, bin, name string, p place, flags ...string) *sidecar {
	t.Helper()
	s := &sidecar{data: filepath.Join(dir, name), clock: filepath.Join(dir, name+".clock"), staleLimit: 15 * time.Minute, cut: p.cut, heal: p.heal, drop: p.drop}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	s.client = &http.Client{Transport: transport, Timeout: 15 * time.Second}
	var listen, admin string
	if p.unix {
		sockets := map[string]string{"public": filepath.Join(dir, name+".s"), "admin": filepath.Join(dir, name+".a")}
		listen, admin = "unix:"+sockets["public"], "unix:"+sockets["admin"]
		s.public, s.admin = "http://public", "http://admin"
		transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			host, _, _ := strings.Cut(address, ":")
			return new(net.Dialer).DialContext(ctx, "unix", sockets[host])
		}
	} else {
		ports, err := stack.FreePorts(2)
		if err != nil {
			t.Fatal(err)
		}
		listen, admin = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
		s.public, s.admin = "http://"+listen, "http://"+admin
	}
	args := append(p.prefix, bin,
		"--listen", listen, "--grpc-listen", "", "--admin-listen", admin, "--nats-url", p.broker(), "--nats-creds", p.creds, "--realm", p.realm,
		"--realm-root", p.root, "--data-dir", s.data, "--id", name, "--trust", p.trust, "--stale-after", staleAfter.String())
	s.Name, s.Path, s.Args = name, args[0], append(args[1:], flags...)
	s.Dir, s.Log = dir, filepath.Join(dir, name+".log")
	s.Env = append(os.Environ(), "REVOCAST_CLOCK_OFFSET_FILE="+s.clock)
	for i, f := range s.Args {
		switch f {
		case "--when-stale":
			s.deny = s.Args[i+1] == "deny"
		case "--stale-limit":
			s.staleLimit, _ = time.ParseDuration(s.Args[i+1])
		}
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// up starts the process; it may never get ready.
func (s *sidecar) up() error {
	s.life.Add(1)
	s.born.Store(time.Now().UnixNano())
	return s.Start()
}

// limit is the age from which the policy refuses.
func (s *sidecar) limit() time.Duration {
	if s.deny {
		return staleAfter
	}
	return s.staleLimit
}

// detection is how long it takes at most to hear of the broker's clock, and how long a
// clock that has been set right is not yet believed.
const detection = 10 * time.Second

// clockOff reports whether the sidecar's clock is wrong, or was a moment ago.
func (s *sidecar) clockOff() bool {
	return s.wrong.Load() || time.Since(time.Unix(0, s.jumped.Load())) < detection
}

// unnoticed reports whether a denies for its time a token that is in its time, by a
// clock that was wrong when the process began: until it hears of the broker's for the
// first time it has nothing to compare its own with.
func (s *sidecar) unnoticed(a answer) bool {
	return s.clockOff() && a.untimely && a.began.Sub(time.Unix(0, s.born.Load())) < detection
}

// mayRefuse reports whether 503 is what policy and state call for. kid is when the
// token's key was first seen.
func (s *sidecar) mayRefuse(a answer, kid time.Time) bool {
	switch {
	case a.freshAsOf.IsZero(): // it has not caught up for the first time
	case a.ended.Sub(a.freshAsOf) >= s.limit()-slack:
	case s.clockOff():
	case s.mayLack(kid):
	case a.ended.Sub(a.began) >= answerWithin: // the machine did not let it run
	default:
		return false
	}
	return true
}

// answerWithin is how long a sidecar may take to decide, by default; then it says 503.
const answerWithin = 400 * time.Millisecond

// mayLack reports whether a key that was first seen then may be unknown: ready says how
// old the view is, not that nothing came since.
func (s *sidecar) mayLack(kid time.Time) bool { return kid.UnixNano() > s.calm.Load() }

// ask is one request.
func (s *sidecar) ask(ctx context.Context, token string) answer {
	life := s.life.Load()
	a := answer{began: time.Now()}
	status, header, _ := s.get(ctx, s.public+"/auth", token)
	a.ended = time.Now()
	if status == 0 {
		return a
	}
	a.status, a.body = status, header.Get("WWW-Authenticate")
	a.revoked = strings.Contains(a.body, "was revoked")
	a.untimely = strings.Contains(a.body, "token expired") || strings.Contains(a.body, "not valid yet")
	if at := header.Get("X-Revocast-Fresh-As-Of"); at != "" {
		var err error
		if a.freshAsOf, err = time.Parse(time.RFC3339Nano, at); err != nil {
			a.body, a.status = err.Error(), -1
		}
	}
	if s.life.Load() == life {
		a.life = life
	}
	return a
}

// get gives status 0 for no answer, and then why.
func (s *sidecar) get(ctx context.Context, url, token string) (status int, header http.Header, body []byte) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	body, err = io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return 0, nil, []byte(err.Error())
	}
	return resp.StatusCode, resp.Header, body
}

// ready is what /readyz says: 0 for nothing, and why.
func (s *sidecar) ready(ctx context.Context) (status int, why string) {
	status, _, body := s.get(ctx, s.admin+"/readyz", "")
	return status, strings.TrimSpace(string(body))
}

// state is what /v1/status says and a test needs.
type state struct {
	Feed  struct{ Phase, Epoch, Position string }
	Store struct {
		Queued int
		Error  string
	}
}

func (s *sidecar) state(ctx context.Context) (st state, err error) {
	_, _, body := s.get(ctx, s.admin+"/v1/status", "")
	return st, json.Unmarshal(body, &st)
}

// shift sets the clock wrong by so much; zero sets it right.
func (s *sidecar) shift(by time.Duration) error {
	s.wrong.Store(by != 0)
	s.jumped.Store(time.Now().UnixNano())
	if by == 0 {
		return os.Remove(s.clock)
	}
	return os.WriteFile(s.clock, []byte(by.String()), 0o600)
}
