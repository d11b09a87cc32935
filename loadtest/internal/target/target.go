// Package target is where load goes: HTTP servers, and whatever else is connected to.
//
// Invariants:
//
//   - Nothing leaves the loopback interface unless its host was named as one's own,
//     whatever names resolve to.
//   - No proxy is used and no redirect followed: either would lead the load elsewhere.
//   - No token is printed, logged or part of an error.
package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// ErrNotYours is returned for a target off this machine that nobody vouched for.
var ErrNotYours = errors.New("not on the loopback interface, and load is sent elsewhere only with --i-own-this-target naming its host")

// Dialer gives what connects to the host, giving up after the timeout. Unless it is the
// one that is owned, only addresses of the loopback interface are connected to.
func Dialer(host, owned string, timeout time.Duration) (*net.Dialer, error) {
	d := &net.Dialer{Timeout: timeout}
	if owned != "" && strings.EqualFold(owned, host) {
		return d, nil
	}
	if !loopback(host) {
		return nil, fmt.Errorf("%s: %w", host, ErrNotYours)
	}
	d.Control = onlyLoopback
	return d, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// onlyLoopback has the last word where a name has been resolved.
func onlyLoopback(_, address string, _ syscall.RawConn) error {
	if to, err := netip.ParseAddrPort(address); err != nil || !to.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s: %w", address, ErrNotYours)
	}
	return nil
}

// Target is an HTTP server, or one of its resources. Safe for concurrent use.
type Target struct {
	url       *url.URL
	transport *http.Transport
	timeout   time.Duration
}

// Config says where load goes and over what.
type Config struct {
	// URL is http or https, without user and fragment.
	URL string
	// Owned is the one host that may lie off the loopback interface; empty for none.
	Owned string
	// Connections is how many are opened at most; they are kept.
	Connections int
	// Timeout bounds each request.
	Timeout time.Duration
}

// New checks where the load would go and opens nothing yet.
func New(cfg Config) (*Target, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the target is no URL such as http://127.0.0.1:9470/auth")
	}
	dialer, err := Dialer(u.Hostname(), cfg.Owned, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	return &Target{
		url: u, timeout: cfg.Timeout,
		transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: cfg.Timeout, DisableCompression: true,
			MaxConnsPerHost: cfg.Connections, MaxIdleConnsPerHost: cfg.Connections, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: maxHead,
		},
	}, nil
}

// Close closes the connections.
func (t *Target) Close() { t.transport.CloseIdleConnections() }

// URL is what the load is sent to.
func (t *Target) URL() string { return t.url.String() }

// maxHead and maxAnswer bound the head and the body of an answer in bytes.
const (
	maxHead   = 64 << 10
	maxAnswer = 1 << 20
)

var errLarge = fmt.Errorf("the answer is larger than %d bytes", maxAnswer)

// Request is one to send.
type Request struct {
	// Method is GET if it is empty.
	Method string
	// Path is below the target's URL, with a slash at its front; empty for the URL as it
	// stands.
	Path string
	// Authorization is the field of that name; empty for none.
	Authorization string
	// Type is the Content-Type of Body, which may be empty.
	Type string
	Body []byte
}

// Answer is what came back, to the end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Ask sends a request and reads the whole answer, so that the connection can be used
// again. No status is an error.
func (t *Target) Ask(ctx context.Context, q Request) (Answer, error) {
	var body bytes.Buffer
	status, header, err := t.send(ctx, q, &body)
	return Answer{status, header, body.Bytes()}, err
}

// Status is Ask for whom the body does not matter.
func (t *Target) Status(ctx context.Context, q Request) (int, error) {
	status, _, err := t.send(ctx, q, io.Discard)
	return status, err
}

func (t *Target) send(ctx context.Context, q Request, body io.Writer) (int, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	r := (&http.Request{
		Method: q.Method, URL: t.url, Host: t.url.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {"revocast-loadtest"}},
	}).WithContext(ctx)
	if q.Path != "" {
		below := *t.url
		below.Path, below.RawPath = strings.TrimSuffix(t.url.Path, "/")+q.Path, ""
		r.URL = &below
	}
	if q.Authorization != "" {
		r.Header["Authorization"] = []string{q.Authorization}
	}
	if q.Type != "" {
		r.Header["Content-Type"] = []string{q.Type}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(q.Body)), int64(len(q.Body))
	}
	answer, err := t.transport.RoundTrip(r)
	if err != nil {
		return 0, nil, err
	}
	n, err := io.Copy(body, io.LimitReader(answer.Body, maxAnswer+1))
	if err == nil && n > maxAnswer {
		err = errLarge
	}
	return answer.StatusCode, answer.Header, errors.Join(err, answer.Body.Close())
}
