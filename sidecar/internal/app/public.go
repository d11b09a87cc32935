package app

import (
	"net/http"

	"github.com/revocast/revocast/sidecar/internal/front/introspect"
	"github.com/revocast/revocast/sidecar/internal/front/proxy"
)

// reserved is where the sidecar's own paths lie when it stands before an application, to
// which all others belong. They are compared as they come: whatever else an application
// may read as one of them is the application's.
const reserved = "/.revocast"

// public is what clients and their proxies reach.
func (a *App) public() http.Handler {
	own := map[string]http.Handler{"/auth": a.auth, "/introspect": http.NotFoundHandler()}
	if !a.cfg.Introspectors.Empty() {
		own["/introspect"] = introspect.New(a.cfg.Introspectors, a.check)
	}
	prefix, others := "", http.NotFoundHandler()
	if a.proxy != nil {
		prefix, others = reserved, a.proxy
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := others
		if path := r.URL.EscapedPath(); len(path) > len(prefix) && path[:len(prefix)] == prefix {
			if mine, ok := own[path[len(prefix):]]; ok {
				h = mine
			}
		}
		h.ServeHTTP(w, r)
	})
}

// openProxy makes the proxy, if there is an application.
func (a *App) openProxy() error {
	if a.cfg.Application == (proxy.Upstream{}) {
		return nil
	}
	metrics, err := proxy.NewMetrics(a.metrics)
	if err != nil {
		return err
	}
	a.proxy, err = proxy.New(proxy.Config{
		Upstream: a.cfg.Application, CA: a.cfg.UpstreamCA, AnswerWithin: a.cfg.UpstreamWithin,
	}, a.check, metrics, a.log.Named("proxy"))
	return err
}

// revoked is told when there is more that is denied.
func (a *App) revoked() {
	if a.proxy != nil {
		a.proxy.Changed()
	}
}
