package front

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/revocast/revocast/loadtest/internal/token"
)

const (
	// maxHead and maxBody bound an answer in bytes.
	maxHead = 64 << 10
	maxBody = 64 << 10
	// agent is how requests call themselves.
	agent = "revocast-loadtest"
)

// overHTTP asks over HTTP/1.1. A request takes this process a fraction of what net/http
// takes for it, which hands every one from goroutine to goroutine.
type overHTTP struct {
	client  *fasthttp.HostClient
	timeout time.Duration
	// prepare makes all of a request that is the same each time, fill the rest, and verdict
	// reads the answer.
	prepare func(*fasthttp.Request)
	fill    func(*fasthttp.Request, token.Token)
	verdict func(*fasthttp.Response) int
	// exchanges are requests that are prepared, with room for their answers.
	exchanges sync.Pool
}

type exchange struct {
	request  fasthttp.Request
	response fasthttp.Response
}

func newHTTP(cfg Config, a address) *overHTTP {
	f := &overHTTP{
		timeout: cfg.Timeout,
		client: &fasthttp.HostClient{
			Addr: a.address, IsTLS: a.secure, TLSConfig: &tls.Config{ServerName: a.host, MinVersion: tls.VersionTLS12},
			Dial:     func(string) (net.Conn, error) { return a.dialer.Dial(a.network, a.address) },
			MaxConns: cfg.Connections, MaxConnWaitTimeout: cfg.Timeout, MaxIdleConnDuration: time.Minute, ConnPoolStrategy: fasthttp.LIFO,
			MaxIdemponentCallAttempts: 1, WriteTimeout: cfg.Timeout, // of the handshake, too
			ReadBufferSize: maxHead, MaxResponseBodySize: maxBody, NoDefaultUserAgentHeader: true,
			DisablePathNormalizing: true, DisableHeaderNamesNormalizing: true, SecureErrorLogMessage: true,
		},
		prepare: func(r *fasthttp.Request) {
			r.SetRequestURI(a.uri)
			r.Header.SetMethod(http.MethodGet)
			r.Header.SetUserAgent(agent)
		},
		fill:    func(r *fasthttp.Request, t token.Token) { r.Header.Set("Authorization", t.Authorization()) },
		verdict: func(r *fasthttp.Response) int { return r.StatusCode() },
	}
	switch cfg.Kind {
	case ForwardAuth:
		f.original()
	case Introspection:
		f.introspect(cfg.ClientID, cfg.ClientSecret)
	case Proxy, Library, ExtAuthz:
	}
	f.exchanges.New = func() any {
		x := new(exchange)
		f.prepare(&x.request)
		return x
	}
	return f
}

// original says what is asked for, as a proxy does of its client's request.
func (f *overHTTP) original() {
	before := f.prepare
	f.prepare = func(r *fasthttp.Request) {
		before(r)
		r.Header.Set("X-Forwarded-Method", http.MethodGet)
		r.Header.Set("X-Forwarded-Host", "loadtest.invalid")
		r.Header.Set("X-Forwarded-Uri", "/")
	}
}

// introspect asks with a form. The answer says whether the token is active, which comes to
// 200 or 401 for whoever presented it.
func (f *overHTTP) introspect(id, secret string) {
	before := f.prepare
	// The halves are form-encoded before they are joined (RFC 6749 section 2.3.1).
	credentials := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + url.QueryEscape(secret)))
	f.prepare = func(r *fasthttp.Request) {
		before(r)
		r.Header.SetMethod(http.MethodPost)
		r.Header.SetContentType("application/x-www-form-urlencoded")
		r.Header.Set("Accept", "application/json")
		r.Header.Set("Authorization", "Basic "+credentials)
	}
	f.fill = func(r *fasthttp.Request, t token.Token) {
		r.SetBodyString("token_type_hint=access_token&token=")
		r.AppendBodyString(url.QueryEscape(t.Raw()))
	}
	f.verdict = func(r *fasthttp.Response) int {
		var says struct {
			Active *bool `json:"active"`
		}
		switch status := r.StatusCode(); {
		case status == http.StatusUnauthorized:
			return http.StatusForbidden // of the client: nothing is said of the token
		case status != http.StatusOK:
			return status
		case json.Unmarshal(r.Body(), &says) != nil || says.Active == nil:
			return http.StatusBadGateway
		case *says.Active:
			return http.StatusOK
		}
		return http.StatusUnauthorized
	}
}

// Ask implements [Front]. It does not return before the answer is there or the timeout is
// over, whatever becomes of ctx.
func (f *overHTTP) Ask(_ context.Context, t token.Token) (int, error) {
	x := f.exchanges.Get().(*exchange) //nolint:errcheck,forcetypeassert // of New above
	defer f.exchanges.Put(x)
	f.fill(&x.request, t)
	if err := f.client.DoTimeout(&x.request, &x.response, f.timeout); err != nil {
		return 0, answerless(err)
	}
	return f.verdict(&x.response), nil
}

// answerless words an error so that a timeout is one, and nothing that was sent is in it.
func answerless(err error) error {
	if late, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && late.Timeout() {
		return lateError{}
	}
	return err
}

// Close implements [Front].
func (f *overHTTP) Close() error {
	f.client.CloseIdleConnections()
	return nil
}
