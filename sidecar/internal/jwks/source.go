package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/strict"
)

const (
	// maxBytes bounds every document: a hundred RSA keys take about 80 kB.
	maxBytes     = 256 << 10
	maxRedirects = 3
)

// ParseURL reads an address that keys may come from: https, or http to the
// loopback interface, where nobody stands in between. No credentials, which
// would reach logs, and no fragment, which no server sees.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Host == "" || u.Hostname() == "":
		return nil, errors.New("not an absolute URL")
	case u.User != nil:
		return nil, errors.New("a URL with credentials")
	case u.Fragment != "" || strings.Contains(s, "#"):
		return nil, errors.New("a URL with a fragment")
	case u.Scheme == "https":
		return u, nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	}
	return nil, errors.New("neither https nor http on loopback")
}

// ParseIssuer reads an issuer identifier that keys can be found by: such an
// address, without a query (RFC 8414 section 2).
func ParseIssuer(id events.Issuer) (*url.URL, error) {
	u, err := ParseURL(string(id))
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" || u.ForceQuery {
		return nil, errors.New("a URL with a query")
	}
	return u, nil
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// source is where one issuer's set is read from.
type source struct {
	issuer events.Issuer
	// path is a file; else address is the set's URL; else the set is found by
	// the issuer's metadata.
	path    string
	address string
	client  *http.Client
	timeout time.Duration
}

func newSource(cfg Config, transport http.RoundTripper) (source, error) {
	s := source{issuer: cfg.Issuer, timeout: cfg.Timeout}
	if _, err := ParseIssuer(cfg.Issuer); err != nil {
		return source{}, fmt.Errorf("issuer %q: %w", cfg.Issuer, err)
	}
	switch {
	case cfg.Source == "":
	case !strings.Contains(cfg.Source, "://"):
		s.path = cfg.Source
	default:
		if _, err := ParseURL(cfg.Source); err != nil {
			return source{}, fmt.Errorf("key set %q: %w", cfg.Source, err)
		}
		s.address = cfg.Source
	}
	s.client = &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	return s, nil
}

// checkRedirect holds every hop to the rule of the first, and lets none lead
// from https down to http.
func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	if _, err := ParseURL(r.URL.String()); err != nil {
		return fmt.Errorf("following a redirect: %w", err)
	}
	if r.URL.Scheme != "https" && slices.ContainsFunc(via, func(hop *http.Request) bool { return hop.URL.Scheme == "https" }) {
		return errors.New("following a redirect: from https to http")
	}
	return nil
}

// read gives the set's text.
func (s source) read(ctx context.Context) (string, error) {
	if s.path != "" {
		return readFile(s.path)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	address := s.address
	if address == "" {
		var err error
		if address, err = s.discover(ctx); err != nil {
			return "", err
		}
	}
	return s.get(ctx, address)
}

// discover asks the issuer's metadata for its jwks_uri: RFC 8414 section 3, and
// where that gives nothing, OpenID Connect Discovery 1.0 section 4, which puts
// the same document elsewhere.
func (s source) discover(ctx context.Context) (string, error) {
	u, err := ParseIssuer(s.issuer)
	if err != nil {
		return "", fmt.Errorf("issuer %q: %w", s.issuer, err)
	}
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	var faults []error
	for _, address := range []string{
		origin + "/.well-known/oauth-authorization-server" + path,
		origin + path + "/.well-known/openid-configuration",
	} {
		found, err := s.metadata(ctx, address)
		if err == nil {
			return found, nil
		}
		faults = append(faults, err)
	}
	return "", fmt.Errorf("discovering the keys of issuer %q: %w", s.issuer, errors.Join(faults...))
}

func (s source) metadata(ctx context.Context, address string) (string, error) {
	// One of the two places that hangs must leave time for the other, and for the set.
	ctx, cancel := context.WithTimeout(ctx, s.timeout/3)
	defer cancel()
	text, err := s.get(ctx, address)
	if err != nil {
		return "", err
	}
	o, err := strict.ParseObject(text, strict.Limits{Depth: 8, Members: 200})
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", address, err)
	}
	// RFC 8414 section 3.3: identical, or the document speaks for someone else.
	if textOf(o, "issuer") != string(s.issuer) {
		return "", fmt.Errorf("reading %s: it names another issuer", address)
	}
	found := textOf(o, "jwks_uri")
	u, err := ParseURL(found)
	if err != nil {
		return "", fmt.Errorf("reading %s: jwks_uri is %w", address, err)
	}
	if u.Scheme != "https" && strings.HasPrefix(address, "https:") {
		return "", fmt.Errorf("reading %s: jwks_uri leads from https to http", address)
	}
	return found, nil
}

// get fetches a document. What content type it claims is not asked: many hosts give a
// set as plain text, and what is no JSON object of the right form is refused anyway.
func (s source) get(ctx context.Context, address string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", address, err)
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := s.client.Do(r)
	if err != nil {
		return "", err // names method and address itself
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("fetching %s: status %d", address, answer.StatusCode)
	}
	text, err := readAll(answer.Body)
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", address, err)
	}
	return text, nil
}

func readFile(path string) (string, error) {
	// To open a pipe would wait for its other end, for as long as that takes.
	if info, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("reading key set: %w", err)
	} else if !info.Mode().IsRegular() {
		return "", fmt.Errorf("reading key set %s: not a regular file", path)
	}
	f, err := os.Open(path) //nolint:gosec // the operator names this file
	if err != nil {
		return "", fmt.Errorf("reading key set: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := readAll(f)
	if err != nil {
		return "", fmt.Errorf("reading key set %s: %w", path, err)
	}
	return text, nil
}

func readAll(r io.Reader) (string, error) {
	var b strings.Builder
	n, err := io.Copy(&b, io.LimitReader(r, maxBytes+1))
	if err != nil {
		return "", err
	}
	if n > maxBytes {
		return "", fmt.Errorf("longer than %d bytes", maxBytes)
	}
	return b.String(), nil
}
