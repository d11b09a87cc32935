package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/gate"
)

// Config says where the application is and how long it is waited for.
type Config struct {
	Upstream Upstream
	// CA names a PEM file with the authorities that the application's certificate must
	// come from; empty for the system's.
	CA string
	// AnswerWithin bounds how long the application may take to begin its answer once it
	// has the request. It must be more than nothing.
	AnswerWithin time.Duration
}

// Proxy passes on what may pass. It is safe for concurrent use. [Proxy.Run] must run
// for exchanges to end when their tokens do.
type Proxy struct {
	check    *front.Checker
	upstream Upstream
	carry    transports
	reverse  *httputil.ReverseProxy
	live     *live
	changed  chan struct{}
	metrics  *Metrics
	log      *zap.Logger
}

// New makes a proxy. It connects to nothing.
func New(cfg Config, check *front.Checker, metrics *Metrics, log *zap.Logger) (*Proxy, error) {
	if cfg.Upstream == (Upstream{}) {
		return nil, errors.New("proxying: no upstream")
	}
	if cfg.AnswerWithin <= 0 {
		return nil, fmt.Errorf("proxying: bound of an answer %s: want more than nothing", cfg.AnswerWithin)
	}
	carry, err := cfg.Upstream.transports(cfg.CA, cfg.AnswerWithin)
	if err != nil {
		return nil, fmt.Errorf("proxying: %w", err)
	}
	// An application that is away is so for every request: the log gets a few a minute.
	log = log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, time.Minute, 5, 0)
	}))
	p := &Proxy{
		check: check, upstream: cfg.Upstream, carry: carry, live: newLive(metrics.tunnels), changed: make(chan struct{}, 1), metrics: metrics, log: log,
	}
	p.reverse = &httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: carry, FlushInterval: -1, BufferPool: &buffers{},
		ModifyResponse: modify, ErrorHandler: p.failed, ErrorLog: zap.NewStdLog(log),
	}
	return p, nil
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target := r.URL.RequestURI() // as the application will get it
	asked := front.Request{
		Method: r.Method, Host: r.Host, Target: target, Authorization: r.Header["Authorization"],
		// CONNECT asks for a tunnel, "*" for nothing an application has; and without a
		// host it would see another than was judged.
		Unreadable: r.Method == http.MethodConnect || r.Host == "" || !strings.HasPrefix(target, "/"),
	}
	answer := p.check.Check(r.Context(), asked)
	if !answer.Allowed() {
		refuse(w, r, answer)
		return
	}
	if asked.Unreadable { // and nothing is enforced
		problem(w, r, answer, http.StatusBadRequest, "")
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	e := &exchange{
		ResponseWriter: w, control: http.NewResponseController(w), live: p.live, begun: time.Now(), cancel: cancel,
		request: asked, answer: answer, judged: answer.Decision.Reason == gate.ReasonGood && !answer.Decision.Shadow,
	}
	p.live.add(e)
	defer p.live.remove(e)
	e.open(r)
	defer e.close(r)
	r = r.WithContext(context.WithValue(ctx, exchangeKey{}, e))
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &upload{ReadCloser: r.Body, exchange: e}
	}
	p.reverse.ServeHTTP(e, r)
	scrub(w.Header()) // what follows the body
}

type exchangeKey struct{}

// exchangeOf is what a request passes through; nil for one of nobody's.
func exchangeOf(r *http.Request) *exchange {
	e, _ := r.Context().Value(exchangeKey{}).(*exchange)
	return e
}

// modify makes of the application's answer the client's. What is said in between and at
// the end passes [exchange.WriteHeader] and ServeHTTP.
func modify(r *http.Response) error {
	scrub(r.Header)
	scrub(r.Trailer)
	if len(r.Trailer) > 0 {
		r.Header.Del("Content-Length") // nothing follows a body of known length in HTTP/1.1
	}
	if e := exchangeOf(r.Request); e != nil && r.StatusCode == http.StatusSwitchingProtocols {
		fresh := e.answer.Fresh()
		r.Header[fresh.Name] = []string{fresh.Value}
	}
	return nil
}

// failed answers for an application that has not.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	e := exchangeOf(r)
	if e == nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if ended, ok := errors.AsType[*refusal](context.Cause(r.Context())); ok {
		refuse(w, r, ended.answer)
		return
	}
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody is there to be answered
	}
	if e.unreadable.Load() {
		problem(w, r, e.answer, http.StatusBadRequest, "The request's body could not be read")
		return
	}
	status := http.StatusBadGateway
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		status = http.StatusGatewayTimeout
	}
	p.metrics.failed(status)
	p.log.Warn("the application did not answer", zap.Int("status", status), zap.Error(err))
	problem(w, r, e.answer, status, "")
}

// refuse tells the client why its request does not pass.
func refuse(w http.ResponseWriter, r *http.Request, a front.Answer) {
	for _, f := range a.Refusal() {
		w.Header()[f.Name] = []string{f.Value}
	}
	problem(w, r, a, a.Decision.Status(), a.Decision.Description())
}

// problem answers in the form of RFC 9457.
func problem(w http.ResponseWriter, r *http.Request, a front.Answer, status int, detail string) {
	h, fresh := w.Header(), a.Fresh()
	h[fresh.Name] = []string{fresh.Value}
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Type"] = []string{"application/problem+json"}
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		// Nobody waits for a body that will not be passed on.
		h["Connection"] = []string{"close"}
	}
	body, err := json.Marshal(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{http.StatusText(status), status, detail})
	if err != nil {
		body = nil // the status says it too
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}
