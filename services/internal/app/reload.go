package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/reload"
	"github.com/revocast/revocast/services/internal/strictyaml"
)

// reloads is the configuration that follows its file.
type reloads struct {
	clients  *reload.File // nil without a file
	outcomes *prometheus.CounterVec
	last     prometheus.Gauge
}

// Outcomes of a reload.
const (
	applied = "applied"
	refused = "refused"
)

// openClients reads the clients and prepares for reading them again.
func (a *App) openClients() (err error) {
	a.reloads.outcomes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "revocast_issuer_config_reloads_total",
		Help: "How often the clients file was read again: applied, or refused because of its faults, which changed nothing.",
	}, []string{"outcome"})
	a.reloads.last = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "revocast_issuer_config_last_success_timestamp_seconds",
		Help: "When the clients file that is in force was read.",
	})
	for _, outcome := range []string{applied, refused} {
		a.reloads.outcomes.WithLabelValues(outcome)
	}
	if err := errors.Join(a.metrics.Register(a.reloads.outcomes), a.metrics.Register(a.reloads.last)); err != nil {
		return fmt.Errorf("registering reload metrics: %w", err)
	}
	switch {
	case a.cfg.Clients != "":
		a.reloads.clients = reload.Open(a.cfg.Clients, strictyaml.MaxSize+1, a.log)
	case !a.cfg.Control():
		a.log.Warn("no clients are configured (--clients): nobody can log in")
	}
	if a.clients, err = clients.Open(a.cfg.Clients, a.cfg.Policy()); err != nil {
		return err
	}
	a.reloads.last.SetToCurrentTime()
	return nil
}

// reload reads the clients file again when it has changed, and on SIGHUP.
func (a *App) reload(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if a.reloads.clients != nil {
		group.Go(func() error {
			return a.reloads.clients.Run(ctx, func() { a.reloadClients("file changed") })
		})
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGHUP)
	defer signal.Stop(told)
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-told:
				a.reloadClients("signal")
				a.reloadCertificates()
			}
		}
	})
	return group.Wait()
}

// reloadClients puts the file in force, or says what is wrong with it.
func (a *App) reloadClients(why string) {
	// Tokens for a new audience must be known before anyone can be given one.
	err := a.clients.Reload(func(next clients.Registry) { a.keys.Accept(next.Audiences()) })
	if err != nil {
		a.reloads.outcomes.WithLabelValues(refused).Inc()
		a.log.Error("clients not reloaded; what was in force stays", zap.String("why", why), zap.Error(err))
		return
	}
	a.reloads.outcomes.WithLabelValues(applied).Inc()
	a.reloads.last.SetToCurrentTime()
	a.log.Info("clients reloaded", zap.String("why", why), zap.Int("clients", len(a.clients.All())))
}
