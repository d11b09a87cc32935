package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/account"
	"github.com/revocast/revocast/services/internal/adminapi"
	"github.com/revocast/revocast/services/internal/oauth/metadata"
	"github.com/revocast/revocast/services/internal/oauth/revoke"
	"github.com/revocast/revocast/services/internal/oauth/token"
	"github.com/revocast/revocast/services/internal/problem"
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
		{"public", a.cfg.Listen, measured(public, durations)},
		{"admin", a.cfg.AdminListen, measured(a.adminAPI(), durations)},
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
			ErrorLog: zap.NewStdLog(a.log.Named(s.name)),
		}})
	}
	return servers, nil
}

func (a *App) public() (http.Handler, error) {
	mux := http.NewServeMux()
	account.API{
		Logins: a.service, Sessions: a.service, Passwords: a.service, Clients: a.clients, Log: a.log,
	}.Register(mux)
	outcomes, err := token.NewOutcomes(a.metrics)
	if err != nil {
		return nil, fmt.Errorf("registering refresh metrics: %w", err)
	}
	mux.Handle("POST /oauth/token", token.Handler{Refresher: a.service, Clients: a.clients, Log: a.log, Outcomes: outcomes})
	mux.Handle("POST /oauth/revoke", revoke.Handler{Revoker: a.service, Clients: a.clients, Log: a.log})
	description, err := metadata.Handler(events.Issuer(a.cfg.Issuer), a.clients.Scopes())
	if err != nil {
		return nil, err
	}
	mux.Handle("GET /.well-known/oauth-authorization-server", description)
	mux.Handle("GET /.well-known/openid-configuration", description)
	mux.HandleFunc("GET /.well-known/jwks.json", a.keys.ServeJWKS)
	a.health(mux)
	return problems(mux), nil
}

func (a *App) adminAPI() http.Handler {
	mux := http.NewServeMux()
	adminapi.API{
		Service: a.service, Hasher: a.hasher, Operators: []adminapi.Operator{a.admin},
		Issuer: events.Issuer(a.cfg.Issuer), Log: a.log,
	}.Register(mux)
	a.health(mux)
	return problems(mux)
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

// operatorToken reads the first operator's token, after making it if there is
// none. Only its hash is kept.
func operatorToken(path string) (adminapi.Operator, error) {
	none := adminapi.Operator{}
	if err := makeToken(path); err != nil {
		return none, fmt.Errorf("making the operator token: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return none, fmt.Errorf("reading the operator token: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 || info.Size() > maxOperatorToken {
		return none, fmt.Errorf("reading the operator token: %s, %s of %d bytes: want a small file that only its owner can read; "+
			"take the others' access away (chmod go=) and consider the token read", path, mode, info.Size())
	}
	content, err := os.ReadFile(path) //nolint:gosec // the file that the operator named
	if err != nil {
		return none, fmt.Errorf("reading the operator token: %w", err)
	}
	text := strings.TrimSpace(string(content))
	if b, err := base64.RawURLEncoding.DecodeString(text); err != nil || len(b) < 16 {
		return none, fmt.Errorf("reading the operator token: %s does not hold 128 bits or more in base64url; remove it to have a new one made", path)
	}
	return adminapi.Operator{Name: "admin", Role: adminapi.Administrator, TokenHash: sha256.Sum256([]byte(text))}, nil
}

const maxOperatorToken = 1024

// makeToken makes the file unless it exists. Issuers that share it may try at once:
// it appears whole, and once.
func makeToken(path string) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-token-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	_, err = f.WriteString(base64.RawURLEncoding.EncodeToString(secret) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // another issuer was first
}
