package scenario

import (
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

// Target is one URL that load is sent to. Safe for concurrent use.
type Target struct {
	request   *http.Request
	transport *http.Transport
	timeout   time.Duration
}

// TargetConfig says where load goes and over what.
type TargetConfig struct {
	// URL is http or https, without user and fragment.
	URL string
	// Owned is the one host that may lie off the loopback interface; empty for none.
	Owned string
	// Connections is how many are opened at most; they are kept.
	Connections int
	// Timeout bounds each request.
	Timeout time.Duration
}

// NewTarget checks where the load would go and opens nothing yet. No proxy is used
// and no redirect followed, since either would lead the load elsewhere.
func NewTarget(cfg TargetConfig) (*Target, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the target is no URL such as http://127.0.0.1:9470/auth")
	}
	owned := cfg.Owned != "" && strings.EqualFold(cfg.Owned, u.Hostname())
	if !owned && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("%s: %w", u.Hostname(), ErrNotYours)
	}
	request, err := http.NewRequest(http.MethodGet, cfg.URL, http.NoBody) //nolint:noctx // a template; each copy has its own
	if err != nil {
		return nil, fmt.Errorf("preparing requests to %s: %w", u.Host, err)
	}
	dialer := &net.Dialer{Timeout: cfg.Timeout}
	if !owned {
		dialer.Control = onlyLoopback
	}
	return &Target{
		request: request, timeout: cfg.Timeout,
		transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: cfg.Timeout, DisableCompression: true,
			MaxConnsPerHost: cfg.Connections, MaxIdleConnsPerHost: cfg.Connections, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: maxAnswer,
		},
	}, nil
}

// Close closes the connections.
func (t *Target) Close() { t.transport.CloseIdleConnections() }

// URL is what the load is sent to.
func (t *Target) URL() string { return t.request.URL.String() }

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

// maxAnswer bounds the head and the body of an answer in bytes.
const maxAnswer = 64 << 10

var errLarge = fmt.Errorf("the answer is larger than %d bytes", maxAnswer)

// ask sends one request with the given Authorization field and reads all of the
// answer, so that the connection can be used again. It gives the status.
func (t *Target) ask(ctx context.Context, authorization string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	r := t.request.WithContext(ctx)
	r.Header = http.Header{"Authorization": {authorization}, "User-Agent": {"revocast-loadtest"}}
	answer, err := t.transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer+1))
	if err == nil && n > maxAnswer {
		err = errLarge
	}
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}
