package clients

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/strictyaml"
)

// Bounds on what the file may say.
const (
	maxClients  = 10_000
	maxID       = 128
	maxURI      = 2048
	maxText     = 256 // one scope, one audience
	maxPerList  = 64
	maxLifetime = 10 * 366 * 24 * time.Hour
	maxGrace    = 5 * time.Minute
	// maxSessions keeps the sessions of one user well below what one load of the
	// journal answers with (events.MaxLoad).
	maxSessions = 100
	maxRole     = 64
)

type file struct {
	Clients []entry `yaml:"clients"`
}

type entry struct {
	ID              string   `yaml:"id"`
	Type            string   `yaml:"type"`
	SecretHash      string   `yaml:"secret_hash"`
	Grants          []Grant  `yaml:"grants"`
	FirstPartyLogin bool     `yaml:"first_party_login"`
	Introspection   bool     `yaml:"introspection"`
	RedirectURIs    []string `yaml:"redirect_uris"`
	Scopes          []string `yaml:"scopes"`
	Audiences       []string `yaml:"audiences"`

	Replay          string `yaml:"replay"`
	Rotation        *bool  `yaml:"rotation"`
	AccessTTL       span   `yaml:"access_ttl"`
	RefreshIdle     span   `yaml:"refresh_idle"`
	RefreshAbsolute span   `yaml:"refresh_absolute"`
	RotationGrace   span   `yaml:"rotation_grace"`

	MaxSessions   *int   `yaml:"max_sessions"`
	OnLimit       string `yaml:"on_limit"`
	SingleSession bool   `yaml:"single_session"`

	StepUpAfterIdle span     `yaml:"step_up_after_idle"`
	DeviceID        string   `yaml:"device_id"`
	DeviceChange    string   `yaml:"device_change"`
	NetworkChange   string   `yaml:"network_change"`
	ReplaySuspected string   `yaml:"replay_suspected"`
	HighGradeFor    span     `yaml:"high_grade_for"`
	HighGradeScopes []string `yaml:"high_grade_scopes"`

	RolesClaim *string   `yaml:"roles_claim"`
	Roles      *[]string `yaml:"roles"`
}

// Load reads the file. Where it does not say how long a client's tokens and sessions
// live, and how long its grace window is, defaults does; nothing else of defaults is
// looked at. Every fault of the file is reported at once, by client.
func Load(name string, defaults session.Policy) (Registry, error) {
	var f file
	if err := strictyaml.Read(name, &f); err != nil {
		return Registry{}, err
	}
	if len(f.Clients) > maxClients {
		return Registry{}, fmt.Errorf("reading %s: %d clients, at most %d", name, len(f.Clients), maxClients)
	}
	r := Registry{clients: make(map[events.ClientID]Client, len(f.Clients))}
	var errs []error
	for i, e := range f.Clients {
		c, err := e.client(defaults)
		if _, twice := r.clients[c.ID]; twice {
			err = errors.Join(err, errors.New("this id is given to an earlier client"))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("client %d (%.40q): %w", i+1, e.ID, err))
		}
		r.clients[c.ID] = c
	}
	if err := errors.Join(errs...); err != nil {
		return Registry{}, fmt.Errorf("reading %s: %w", name, err)
	}
	return r, nil
}

// client checks one entry and gives the client that it describes.
func (e entry) client(defaults session.Policy) (Client, error) {
	f := &faults{}
	f.text("id", e.ID, maxID)
	f.kind(e)
	f.grants(e)
	f.list("scopes", e.Scopes, maxText)
	f.list("audiences", e.Audiences, maxText)
	if len(e.Audiences) == 0 {
		f.add("audiences: at least one, for every token has one (RFC 9068 section 2.2)")
	}
	f.list("redirect_uris", e.RedirectURIs, maxURI)
	for _, uri := range e.RedirectURIs {
		f.redirect(uri)
	}
	c := Client{
		ID: events.ClientID(e.ID), Public: e.Type == "public",
		Grants: e.Grants, FirstPartyLogin: e.FirstPartyLogin, Introspection: e.Introspection,
		RedirectURIs: e.RedirectURIs, Scopes: e.Scopes, Audiences: e.Audiences,
		Policy: f.policy(e, defaults),
	}
	if e.Type == "confidential" {
		var ok bool
		if c.secret, ok = parseHash(e.SecretHash); !ok {
			f.add(`secret_hash: want "sha256:" and 43 characters of base64url`)
		}
	}
	// Never nil, which would stand for any.
	c.Policy.Scopes, c.Policy.Audiences = append([]string{}, e.Scopes...), append([]string{}, e.Audiences...)
	return c, errors.Join(f.errs...)
}

type faults struct{ errs []error }

func (f *faults) add(format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf(format, args...))
}

func (f *faults) kind(e entry) {
	switch {
	case e.Type != "public" && e.Type != "confidential":
		f.add("type: want public or confidential")
	case e.Type == "public" && e.SecretHash != "":
		f.add("secret_hash: a public client has no secret")
	case e.Type == "public" && slices.Contains(e.Grants, ClientCredentials):
		f.add("grants: client_credentials is for confidential clients (RFC 6749 section 4.4)")
	}
	if e.Type == "public" && e.Introspection {
		f.add("introspection: callers of introspection authenticate (RFC 7662 section 2.1)")
	}
}

func (f *faults) grants(e entry) {
	for i, g := range e.Grants {
		switch g {
		case AuthorizationCode, RefreshToken, ClientCredentials:
		default:
			f.add("grants: want authorization_code, refresh_token or client_credentials")
		}
		if slices.Contains(e.Grants[:i], g) {
			f.add("grants: one is given twice")
		}
	}
	code := slices.Contains(e.Grants, AuthorizationCode)
	if code != (len(e.RedirectURIs) > 0) {
		f.add("redirect_uris: needed for authorization_code, and for nothing else")
	}
}

// list takes what may stand in a scope or an error description: printable ASCII
// without space, quote and backslash (RFC 6749 appendix A.4).
func (f *faults) list(field string, values []string, atMost int) {
	if len(values) > maxPerList {
		f.add("%s: %d of them, at most %d", field, len(values), maxPerList)
	}
	for i, v := range values {
		f.text(field, v, atMost)
		if slices.Contains(values[:i], v) {
			f.add("%s: one is given twice", field)
		}
	}
}

func (f *faults) text(field, s string, atMost int) {
	if s == "" || len(s) > atMost || strings.ContainsFunc(s, func(r rune) bool {
		return r <= 0x20 || r > 0x7e || r == '"' || r == '\\'
	}) {
		f.add("%s: want 1 to %d printable ASCII characters without space, quote and backslash", field, atMost)
	}
}

// redirect takes https, plain http on loopback, and an app's own scheme named after
// its domain (RFC 8252 section 7).
func (f *faults) redirect(uri string) {
	u, err := url.Parse(uri)
	if err != nil || u.Fragment != "" || strings.Contains(uri, "#") || u.User != nil {
		f.add("redirect_uris: want absolute URIs without fragment and user (RFC 6749 section 3.1.2)")
		return
	}
	switch ip, _ := netip.ParseAddr(u.Hostname()); {
	case u.Scheme == "https" && u.Hostname() != "":
	case u.Scheme == "http" && ip.IsLoopback():
	case strings.Contains(u.Scheme, ".") && u.Opaque == "" && u.Path != "":
	default:
		f.add("redirect_uris: want https, http on a loopback address, or an app's scheme with a dot in it")
	}
}
