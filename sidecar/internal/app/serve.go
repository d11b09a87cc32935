package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/front/extauthz"
)

// protocol is what a listener speaks: HTTP, or gRPC.
type protocol interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

type server struct {
	protocol
	name     string
	listener net.Listener
}

func (s server) serve(log *zap.Logger) error {
	log.Info("listening", zap.String("for", s.name), zap.String("address", s.listener.Addr().String()))
	if err := s.Serve(s.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", s.name, err)
	}
	return nil
}

// drainWithin bounds how long requests under way may take at the end.
const drainWithin = 5 * time.Second

// drain lets requests under way finish, and then ends what is left. That may be nobody's
// request: a connection that a client opened ahead and has not used yet.
func (s server) drain(ctx context.Context, log *zap.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	err := s.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("connections were cut off at the end", zap.String("for", s.name), zap.Duration("after", drainWithin))
		err = s.Close()
	}
	if err != nil {
		return fmt.Errorf("draining %s: %w", s.name, err)
	}
	return nil
}

// servers opens the listeners; all or none.
func (a *App) servers(ctx context.Context) (_ []server, err error) {
	public := http.NewServeMux()
	public.Handle("/auth", a.auth)
	metrics := promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{})
	admin := http.NewServeMux()
	admin.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	admin.HandleFunc("GET /readyz", a.readyz)
	admin.Handle("GET /metrics", metrics)
	a.api().Register(admin)

	var servers []server
	defer func() {
		if err != nil {
			for _, s := range servers {
				_ = s.listener.Close() // nothing has been served yet
			}
		}
	}()
	speakHTTP := func(name string, h http.Handler) protocol {
		return &http.Server{
			Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
			WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
			ErrorLog: zap.NewStdLog(a.log.Named(name)),
		}
	}
	for _, s := range []struct {
		name, address string
		speak         func(name string) protocol
	}{
		{"forward-auth", a.cfg.Listen, func(name string) protocol { return speakHTTP(name, public) }},
		{"ext_authz", a.cfg.GRPCListen, func(name string) protocol { return extauthz.New(a.check, a.unready, a.log.Named(name)) }},
		{"admin", a.cfg.AdminListen, func(name string) protocol { return speakHTTP(name, admin) }},
		{"metrics", a.cfg.MetricsListen, func(name string) protocol { return speakHTTP(name, metrics) }},
	} {
		if s.address == "" {
			continue
		}
		l, err := listen(ctx, s.address, a.cfg)
		if err != nil {
			return nil, err
		}
		servers = append(servers, server{name: s.name, listener: l, protocol: s.speak(s.name)})
	}
	return servers, nil
}

// listen opens a TCP or a Unix socket. A socket file that nobody listens on, left
// by a process that was killed, is replaced.
func listen(ctx context.Context, address string, cfg config.Config) (net.Listener, error) {
	var lc net.ListenConfig
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		l, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listening on %s: %w", address, err)
		}
		return l, nil
	}
	if err := removeDeadSocket(ctx, path); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	if err := os.Chmod(path, cfg.Mode); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	return l, nil
}

func removeDeadSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return errors.New("the file is there and no socket")
	}
	var d net.Dialer
	if c, err := d.DialContext(ctx, "unix", path); err == nil {
		_ = c.Close()
		return errors.New("another process listens there")
	}
	return os.Remove(path)
}
