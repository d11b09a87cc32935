package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front/proxy"
)

// application is what a sidecar is told that stands before its application.
type application struct {
	Upstream       string        `placeholder:"URL" group:"application" help:"Stand before an application: --listen passes on what passes, every path of it, but for /.revocast/auth and /.revocast/introspect, where forward-auth and introspection are then. http://, https:// or h2c://host:port, or unix:/path."`
	UpstreamCA     string        `name:"upstream-ca" env:"REVOCAST_UPSTREAM_CA" placeholder:"FILE" type:"path" group:"application" help:"Authorities, PEM, that the application's certificate must come from, instead of the system's."`
	UpstreamWithin time.Duration `default:"60s" group:"application" help:"How long the application may take to begin its answer; then 504."`

	// Application is where Upstream is; zero if there is none.
	Application proxy.Upstream `kong:"-"`
}

func (a *application) derive(add func(flag string, err error)) {
	if a.UpstreamWithin <= 0 {
		add("upstream-within", fmt.Errorf("%s: want more than nothing", a.UpstreamWithin))
	}
	if a.Upstream == "" {
		if a.UpstreamCA != "" {
			add("upstream-ca", errors.New("there is no --upstream"))
		}
		return
	}
	var err error
	a.Application, err = proxy.ParseUpstream(a.Upstream)
	add("upstream", err)
}
