// Package front asks about tokens in every way that a sidecar can be asked, each as its
// usual callers do it, and as cheaply as can be: what the client takes of the processor
// is not there for what it measures.
//
// Invariants:
//
//   - Nothing leaves the machine unless its host was named as one's own, whatever names
//     resolve to. No proxy is used and no redirect followed.
//   - A request is sent once: what fails is a failure, and not tried again.
//   - No token and no secret is part of an error.
package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/loadtest/internal/target"
	"github.com/revocast/revocast/loadtest/internal/token"
)

// Front is one way to ask. Its methods are safe for concurrent use.
type Front interface {
	// Ask gives the HTTP status that whoever presents the token is answered with: in
	// whatever way the answer says so. An error means that there was no answer; one that
	// did not come in time is a timeout by [net.Error].
	Ask(ctx context.Context, t token.Token) (status int, err error)
	// Close closes the connections. Call it once, when nothing is asked any more.
	Close() error
}

// Kind is which way that is.
type Kind string

// The ways to ask.
const (
	// Library is a verifier in this process.
	Library Kind = "library"
	// ForwardAuth is GET /auth, as reverse proxies ask.
	ForwardAuth Kind = "forward-auth"
	// ExtAuthz is Envoy's external authorization, by gRPC.
	ExtAuthz Kind = "ext-authz"
	// Introspection is POST /introspect (RFC 7662), as resource servers ask.
	Introspection Kind = "introspection"
	// Proxy is a request to an application that the sidecar stands before.
	Proxy Kind = "proxy"
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Library, ForwardAuth, ExtAuthz, Introspection, Proxy} }

// UnmarshalText reads the name of one.
func (k *Kind) UnmarshalText(text []byte) error {
	if !slices.Contains(Kinds(), Kind(text)) {
		return fmt.Errorf("%q: want one of library, forward-auth, ext-authz, introspection, proxy", text)
	}
	*k = Kind(text)
	return nil
}

// Config says what is asked and over what.
type Config struct {
	Kind Kind
	// URL is http:// or https:// with a path, or unix:/path of a socket. Of ext-authz it
	// can be host:port.
	URL string
	// Owned is the one host that may lie off the loopback interface; empty for none.
	Owned string
	// Connections is how many are opened at most; they are kept. gRPC takes fewer.
	Connections int
	// Timeout bounds each request.
	Timeout time.Duration
	// ClientID and ClientSecret are whom introspection answers.
	ClientID, ClientSecret string
}

var errURL = errors.New("want http://, https:// or unix:/path, and of ext-authz also host:port")

// Open checks where requests would go and connects to nothing yet.
func Open(cfg Config) (Front, error) {
	a, err := parse(cfg)
	if err != nil {
		return nil, err
	}
	switch cfg.Kind {
	case ForwardAuth, Proxy, Introspection:
		return newHTTP(cfg, a), nil
	case ExtAuthz:
		return newGRPC(cfg, a)
	case Library:
		return nil, errors.New("a library is not asked over a network")
	}
	return nil, fmt.Errorf("%q is no way to ask", cfg.Kind)
}

// address is where connections go.
type address struct {
	network, address string
	dialer           *net.Dialer
	secure           bool
	// host is how the server calls itself, and uri what is asked for there.
	host, uri string
}

func parse(cfg Config) (address, error) {
	if path, ok := strings.CutPrefix(cfg.URL, "unix:"); ok && path != "" {
		return address{
			network: "unix", address: path, dialer: &net.Dialer{Timeout: cfg.Timeout}, host: "localhost", uri: "http://localhost" + cfg.Kind.path(),
		}, nil
	}
	text := cfg.URL
	if cfg.Kind == ExtAuthz && !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return address{}, fmt.Errorf("the target is not understood: %w", errURL) // without the URL, which may hold a secret
	}
	dialer, err := target.Dialer(u.Hostname(), cfg.Owned, cfg.Timeout)
	if err != nil {
		return address{}, err
	}
	port := u.Port()
	switch {
	case port == "" && cfg.Kind == ExtAuthz:
		return address{}, fmt.Errorf("the target has no port: %w", errURL)
	case port == "" && u.Scheme == "https":
		port = "443"
	case port == "":
		port = "80"
	}
	return address{
		network: "tcp", address: net.JoinHostPort(u.Hostname(), port), dialer: dialer, secure: u.Scheme == "https", host: u.Hostname(), uri: u.String(),
	}, nil
}

// path is where a sidecar's own listener has it.
func (k Kind) path() string {
	switch k {
	case ForwardAuth:
		return "/auth"
	case Introspection:
		return "/introspect"
	case Library, ExtAuthz, Proxy:
	}
	return "/"
}

// At is the URL of a sidecar's front of that kind, where its http listener has that base:
// http://host:port, or unix:/path.
func (k Kind) At(base string) string {
	if strings.HasPrefix(base, "unix:") {
		return base
	}
	return strings.TrimSuffix(base, "/") + k.path()
}

// lateError is a timeout that says no more.
type lateError struct{}

func (lateError) Error() string { return "no answer in time" }

// Timeout and Temporary implement [net.Error].
func (lateError) Timeout() bool   { return true }
func (lateError) Temporary() bool { return true }
