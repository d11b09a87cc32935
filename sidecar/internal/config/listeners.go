package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events/tlsfiles"
	"github.com/revocast/revocast/sidecar/internal/front/introspect"
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

// introspection is what a sidecar is told that answers resource servers.
type introspection struct {
	IntrospectionClients string `placeholder:"FILE" type:"path" group:"requests" help:"YAML list of who may ask POST /introspect: id, and secret_hash (sha256:, base64url) or certificate: true. Without it nobody may."`

	// Introspectors are those in the file; nobody without one.
	Introspectors introspect.Clients `kong:"-"`
}

func (i *introspection) derive(add func(flag string, err error)) {
	if i.IntrospectionClients == "" {
		return
	}
	var err error
	i.Introspectors, err = introspect.ReadClients(i.IntrospectionClients)
	add("introspection-clients", err)
}

// securing is what a sidecar is told about who may connect.
type securing struct {
	TLSCert        string `name:"tls-cert" env:"REVOCAST_TLS_CERT" placeholder:"FILE" type:"path" group:"listen" help:"Certificate, PEM, with its chain: every listener but Unix sockets speaks TLS by it. This and the next three are read again when they change; open connections stay."`
	TLSKey         string `name:"tls-key" env:"REVOCAST_TLS_KEY" placeholder:"FILE" type:"path" group:"listen" help:"Its key, PEM."`
	ClientCA       string `name:"client-ca" env:"REVOCAST_CLIENT_CA" placeholder:"FILE" type:"path" group:"listen" help:"Authorities, PEM: who connects needs a certificate of theirs. Probes of /healthz and /readyz need none."`
	AdminClientCA  string `name:"admin-client-ca" env:"REVOCAST_ADMIN_CLIENT_CA" placeholder:"FILE" type:"path" group:"listen" help:"The same for --admin-listen and --metrics-listen alone, in the place of --client-ca."`
	TLSMin         string `name:"tls-min" env:"REVOCAST_TLS_MIN" default:"1.3" enum:"1.2,1.3" group:"listen" help:"The oldest TLS that is spoken."`
	MaxConnections int    `default:"16384" group:"listen" help:"Connections that a listener has at once. Beyond it a new one takes the place of one on which nothing is being answered."`
}

// PublicTLS is what secures the listeners for requests; without a certificate they are
// in the clear.
func (s *securing) PublicTLS() tlsfiles.Files {
	return tlsfiles.Files{Cert: s.TLSCert, Key: s.TLSKey, ClientCA: s.ClientCA, Demand: s.ClientCA != "", TLS12: s.TLSMin == "1.2"}
}

// AdminTLS is what secures those for operators, who decide by path who needs a
// certificate.
func (s *securing) AdminTLS() tlsfiles.Files {
	f := s.PublicTLS()
	f.Demand = false
	if s.AdminClientCA != "" {
		f.ClientCA = s.AdminClientCA
	}
	return f
}

func (s *securing) derive(add func(flag string, err error)) {
	add("tls-cert", s.PublicTLS().Check())
	if s.AdminClientCA != "" {
		add("admin-client-ca", s.AdminTLS().Check())
	}
	if s.MaxConnections < 1 {
		add("max-connections", fmt.Errorf("%d: want at least 1", s.MaxConnections))
	}
}
