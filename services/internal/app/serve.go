package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/account"
	"github.com/revocast/revocast/services/internal/oauth/metadata"
	"github.com/revocast/revocast/services/internal/oauth/revoke"
	"github.com/revocast/revocast/services/internal/oauth/token"
	"github.com/revocast/revocast/services/internal/problem"
	"github.com/revocast/revocast/services/internal/remote"
	"github.com/revocast/revocast/services/internal/signals/backchannel"
)

type server struct {
	*http.Server
	name     string
	listener net.Listener
}

// servers opens the listeners; all or none.
func (a *App) servers() (_ []server, err error) {
	public, err := a.public()
	if err != nil {
		return nil, err
	}
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "revocast_issuer_request_duration_seconds", Help: "Time to answer, by endpoint and status.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	}, []string{"endpoint", "status"})
	if err := a.metrics.Register(durations); err != nil {
		return nil, fmt.Errorf("registering request metrics: %w", err)
	}
	proxies, err := remote.ParseProxies(a.cfg.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("reading the trusted proxies: %w", err)
	}
	exposed := http.NewServeMux()
	exposed.Handle("GET /metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{}))
	var servers []server
	defer func() {
		if err != nil {
			for _, s := range servers {
				_ = s.listener.Close() // nothing has been served yet
			}
		}
	}()
	for _, s := range []struct {
		name, address string
		handler       http.Handler
	}{
		{"public", a.cfg.Listen, proxies.Handler(measured(public, durations))},
		{admin, a.cfg.AdminListen, proxies.Handler(measured(a.adminAPI(), durations))},
		{"metrics", a.cfg.MetricsListen, problems(exposed)},
	} {
		if s.address == "" {
			continue
		}
		l, err := listen(context.Background(), s.address)
		if err != nil {
			return nil, err
		}
		servers = append(servers, server{name: s.name, listener: l, Server: &http.Server{
			Handler: s.handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
			WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
			ErrorLog: zap.NewStdLog(a.log.Named(s.name)), TLSConfig: a.tlsOf(s.name),
		}})
	}
	return servers, nil
}

func (a *App) public() (http.Handler, error) {
	mux := http.NewServeMux()
	mux.Handle("POST "+backchannel.Path, a.providers.logout)
	a.health(mux)
	if a.cfg.Control() {
		return problems(mux), nil
	}
	account.API{
		Logins: a.guard, Sessions: a.service, Passwords: a.guard, Clients: a.clients, Log: a.log,
	}.Register(mux)
	outcomes, err := token.NewOutcomes(a.metrics)
	if err != nil {
		return nil, fmt.Errorf("registering refresh metrics: %w", err)
	}
	mux.Handle("POST /oauth/token", token.Handler{Refresher: a.guard, Clients: a.clients, Log: a.log, Outcomes: outcomes})
	mux.Handle("POST /oauth/revoke", revoke.Handler{Revoker: a.service, Clients: a.clients, Log: a.log})
	description := metadata.Handler(events.Issuer(a.cfg.Issuer), a.clients.Scopes)
	mux.Handle("GET /.well-known/oauth-authorization-server", description)
	mux.Handle("GET /.well-known/openid-configuration", description)
	mux.HandleFunc("GET /.well-known/jwks.json", a.keys.ServeJWKS)
	return problems(mux), nil
}

// problems answers what no pattern matches with a problem, like everything else,
// where a mux alone writes text.
func problems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		otherwise, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		header := http.Header{}
		otherwise.ServeHTTP(silent(header), r)
		if allowed := header.Get("Allow"); allowed != "" {
			w.Header().Set("Allow", allowed)
			problem.Write(w, problem.New(http.StatusMethodNotAllowed, "This path takes other methods."))
			return
		}
		problem.Write(w, problem.New(http.StatusNotFound, "There is nothing at this path."))
	})
}

// silent is an answer of which only the header matters.
type silent http.Header

// Header implements [http.ResponseWriter].
func (s silent) Header() http.Header { return http.Header(s) }

// Write implements [http.ResponseWriter].
func (silent) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader implements [http.ResponseWriter].
func (silent) WriteHeader(int) {}

// health says whether the process lives and whether it may be sent requests.
func (a *App) health(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reason := a.unready.Load(); reason == nil || *reason != "" {
			problem.Write(w, &problem.Error{Status: http.StatusServiceUnavailable, Detail: "Not ready; the log says why.", RetryAfter: time.Second})
			return
		}
		w.WriteHeader(http.StatusOK)
	})
}

// measured times requests by the pattern that matched, so that hostile paths make
// no new series.
func measured(h http.Handler, durations *prometheus.HistogramVec) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(recorder, r)
		endpoint := r.Pattern
		if endpoint == "" {
			endpoint = "none"
		}
		durations.WithLabelValues(endpoint, strconv.Itoa(recorder.status)).Observe(time.Since(began).Seconds())
	})
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap serves [http.ResponseController].
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
