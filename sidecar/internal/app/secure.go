package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events/tlsfiles"
)

// listenerFiles are the files that secure the listeners; nil where those are in the clear.
type listenerFiles struct {
	public, admin *tlsfiles.Source
}

// openListeners reads what secures the listeners and prepares to count who is turned
// away.
func (a *App) openListeners() (err error) {
	a.crowded = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "revocast_sidecar_connections_closed_total",
		Help: "Connections closed because a listener had as many as it may have: unused ones, or, where there were none, new ones.",
	}, []string{"listener"})
	if err := a.metrics.Register(a.crowded); err != nil {
		return err
	}
	if a.cfg.TLSCert == "" {
		return nil
	}
	public, err1 := tlsfiles.Open(a.cfg.PublicTLS())
	admin, err2 := tlsfiles.Open(a.cfg.AdminTLS())
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("securing the listeners: %w", err)
	}
	a.tls = listenerFiles{public, admin}
	return nil
}

// followFiles keeps what secures the listeners as the files have it.
func (s *listenerFiles) followFiles(ctx context.Context, log *zap.Logger) error {
	tell := func(err error) {
		if err != nil {
			log.Error("certificates not read again; what was in force stays", zap.Error(err))
			return
		}
		log.Info("certificates read again")
	}
	if s.public == nil {
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- s.admin.Run(ctx, tell) }()
	return errors.Join(s.public.Run(ctx, tell), <-done)
}

// operators lets nobody without a client certificate reach h, where certificates are
// asked for, but for some paths: whoever probes has none.
func (a *App) operators(h http.Handler, open ...string) http.Handler {
	if a.cfg.AdminTLS().ClientCA == "" {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && tlsfiles.Peer(r.TLS) == nil && !slices.Contains(open, r.URL.Path) {
			http.Error(w, "a client certificate is needed", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
