package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/revocast/revocast/loadtest/internal/issuer"
	"github.com/revocast/revocast/loadtest/internal/local"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/target"
	"github.com/revocast/revocast/services/stack"
)

// site is the issuers that are asked.
type site struct {
	where   string
	issuers []*issuer.Issuer
	users   []issuer.Login
	// processes are the issuers' own, where they are ours; the first holds the broker.
	processes []int
	// hashing is how long a password's hash takes alone; zero where that is not known.
	hashing time.Duration
	close   func() error
}

// watch begins to measure all processes.
func (s site) watch() ([]measure.Process, error) {
	var all []measure.Process
	for _, pid := range s.processes {
		p, err := measure.Watch(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// site gives what the command line names, or starts a system of its own.
func (r issuing) site(ctx context.Context) (site, error) {
	if len(r.URL) > 0 {
		return r.cluster()
	}
	return r.own(ctx)
}

// cluster reaches issuers that run already.
func (r issuing) cluster() (site, error) {
	password, err := firstLine(r.PasswordFile)
	if err != nil {
		return site{}, fmt.Errorf("reading the password: %w", err)
	}
	s := site{where: strings.Join(r.URL, ", "), close: func() error { return nil }}
	for _, name := range r.User {
		s.users = append(s.users, issuer.Login{Username: name, Password: password, Client: r.Client})
	}
	var operator string
	if r.AdminURL != "" {
		if operator, err = firstLine(r.AdminTokenFile); err != nil {
			return site{}, fmt.Errorf("reading the operator token: %w", err)
		}
	}
	for _, url := range r.URL {
		one, err := r.reach(url, r.AdminURL, operator)
		if err != nil {
			return site{}, usage(err)
		}
		s.issuers = append(s.issuers, one)
	}
	return s, nil
}

// reach gives a client of an issuer with as many connections as the load may use.
func (r issuing) reach(public, admin, operator string) (*issuer.Issuer, error) {
	to := func(url string) (*target.Target, error) {
		return target.New(target.Config{URL: url, Owned: r.Owned, Connections: r.Connections * r.Contention, Timeout: r.Timeout})
	}
	at, err := to(public)
	if err != nil || admin == "" {
		return &issuer.Issuer{Public: at}, err
	}
	operators, err := to(admin)
	return &issuer.Issuer{Public: at, Admin: operators, Operator: operator}, err
}

const maxLine = 4096

var errLine = errors.New("want one line, of at most 4096 bytes")

// firstLine reads a file of one line.
func firstLine(path string) (string, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the file that was named
	if err != nil {
		return "", err
	}
	content = bytes.TrimRight(content, "\r\n")
	if len(content) == 0 || len(content) > maxLine || bytes.ContainsAny(content, "\r\n") {
		return "", fmt.Errorf("%s: %w", path, errLine)
	}
	return string(content), nil
}

// own starts issuers, with users of their own.
func (r issuing) own(ctx context.Context) (_ site, err error) {
	self, err := os.Executable()
	if err != nil {
		return site{}, fmt.Errorf("finding the programs beside this one: %w", err)
	}
	dir, err := os.MkdirTemp("", "revocast-loadtest-users-")
	if err != nil {
		return site{}, fmt.Errorf("making the users: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }() // issuers read it at their start
	issuers, users := max(r.Issuers, 1), r.Users
	if users == 0 {
		users = 500
	}
	s := site{where: fmt.Sprintf("local system, same machine; issuers: %d, the first with the broker, which syncs every write", issuers)}
	file := filepath.Join(dir, "users.yaml")
	if s.users, s.hashing, err = writeUsers(file, users); err != nil {
		return site{}, fmt.Errorf("making the users: %w", err)
	}
	r.note("starting the local system")
	system, err := local.Start(ctx, local.Config{Bin: filepath.Dir(self), IssuerFlags: []string{"--users", file}})
	if err != nil {
		return site{}, err
	}
	s.close = system.Stop
	defer func() {
		if err != nil {
			err = errors.Join(err, system.Stop())
		}
	}()
	operator, err := system.AdminToken()
	if err != nil {
		return site{}, err
	}
	for n := range issuers {
		srv := system.Issuer()
		if n > 0 {
			if srv, err = system.AddIssuer(ctx); err != nil {
				return site{}, err
			}
		}
		one, err := r.reach(srv.URL(), srv.AdminURL(), operator)
		if err != nil {
			return site{}, err
		}
		s.issuers, s.processes = append(s.issuers, one), append(s.processes, srv.PID())
	}
	return s, nil
}

// What issuers hash passwords by, unless told otherwise (argon2id, RFC 9106).
const (
	hashMemory, hashTime, hashLanes = 19456, 2, 1
	saltSize, sumSize               = 16, 32
)

// writeUsers makes a file of users, who have one password, and says how long its hash
// took.
func writeUsers(path string, n int) (users []issuer.Login, hashing time.Duration, err error) {
	password, salt := rand.Text(), make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	var sum []byte
	for range 3 { // the first one also waits for its memory
		began := time.Now()
		sum = argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashLanes, sumSize)
		hashing = time.Since(began)
	}
	b64 := base64.RawStdEncoding.EncodeToString
	var text bytes.Buffer
	text.WriteString("users:\n")
	for i := range n {
		name := "loadtest-" + strconv.Itoa(i)
		_, _ = fmt.Fprintf(&text, "  - {username: %s, password_hash: \"$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s\"}\n",
			name, argon2.Version, hashMemory, hashTime, hashLanes, b64(salt), b64(sum)) // a Buffer takes everything
		users = append(users, issuer.Login{Username: name, Password: password, Client: stack.MobileClient})
	}
	return users, hashing, os.WriteFile(path, text.Bytes(), 0o600)
}
