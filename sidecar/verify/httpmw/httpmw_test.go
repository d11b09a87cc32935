package httpmw_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
	"github.com/revocast/revocast/sidecar/verify"
	"github.com/revocast/revocast/sidecar/verify/httpmw"
)

// application keeps what the last request told it.
type application struct {
	header http.Header
	path   string
	claims verify.Claims
	known  bool
}

func (a *application) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	a.header, a.path = r.Header.Clone(), r.URL.Path
	a.claims, a.known = verify.FromContext(r.Context())
}

// protected is a server with an application behind the middleware.
func protected(t *testing.T, check *front.Checker) (*httptest.Server, *application) {
	t.Helper()
	app := &application{}
	return serve(t, check, app), app
}

func serve(t *testing.T, check *front.Checker, app http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(httpmw.Over(check)(app))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.DisableGeneralOptionsHandler = true // the server's own would answer "OPTIONS *"
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// The middleware answers as all fronts do, and tells handlers in two ways the same.
func TestScripts(t *testing.T) { fronttest.Run(t, through) }

// Whatever is refused never reaches the handler.
func TestAttacks(t *testing.T) {
	t.Run("requests", func(t *testing.T) { fronttest.Attacks(t, through) })
	t.Run("texts", func(t *testing.T) { fronttest.Texts(t, door) })
	t.Run("disguises", func(t *testing.T) { fronttest.Disguises(t, door) })
}

func door(t *testing.T, check *front.Checker) fronttest.Door {
	t.Helper()
	server, app := protected(t, check)
	return fronttest.Door{Address: server.Listener.Addr().String(), Reached: func(fronttest.Response) bool {
		defer func() { *app = application{} }()
		return app.header != nil
	}}
}

// through sends requests to a handler behind the middleware.
func through(t *testing.T, check *front.Checker) fronttest.Do {
	t.Helper()
	server, app := protected(t, check)
	return func(t *testing.T, r fronttest.Request) fronttest.Response {
		t.Helper()
		*app = application{}
		got := fronttest.Send(t, server.Listener.Addr().String(), r)
		if got.Status != http.StatusOK && app.header != nil {
			t.Errorf("%d, and the handler was called", got.Status)
		}
		if string(app.claims.Subject) != app.header.Get("X-Auth-Subject") || app.known != (app.claims.Subject != "") {
			t.Errorf("the context says %q, %t; the header %q", app.claims.Subject, app.known, app.header.Get("X-Auth-Subject"))
		}
		got.Application = app.header
		return got
	}
}

func get(t *testing.T, target, token string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// Made by its public constructor it does what its options say.
func TestNew(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	protect, err := httpmw.New(rig.Verifier, httpmw.Realm("orders"), httpmw.Within(time.Minute), httpmw.MaxInFlight(1), httpmw.Rules(
		verify.Rule{Match: []string{"GET /health"}, Anonymous: true},
		verify.Rule{Match: []string{"/admin/"}, Ask: verify.Ask{Roles: []string{"root"}}},
	))
	if err != nil {
		t.Fatal(err)
	}
	var app application
	rig.Revoke(t, events.KindSession, "sid-2", time.Now().Add(time.Hour))
	good, ended := rig.Good(t, nil), rig.Good(t, tokentest.Object{"sid": "sid-2"})
	for name, c := range map[string]struct {
		target, token string
		status        int
		subject       string
	}{
		"good":      {"/", good, 200, "alice"},
		"revoked":   {"/", ended, 401, ""},
		"role":      {"/admin/x", good, 403, ""},
		"anonymous": {"/health", ended, 200, ""},
		"ambiguous": {"/health/../admin/", good, 400, ""},
	} {
		app = application{}
		w := httptest.NewRecorder()
		r := get(t, c.target, c.token)
		r.Header.Set("X-Auth-Subject", "root")
		protect(&app).ServeHTTP(w, r)
		if w.Code != c.status || app.header.Get("X-Auth-Subject") != c.subject || w.Body.Len() != 0 || w.Header().Get("X-Revocast-Fresh-As-Of") == "" {
			t.Errorf("%s: %d %v, %q", name, w.Code, w.Header(), app.header.Get("X-Auth-Subject"))
		}
		if challenge := w.Header().Get("WWW-Authenticate"); c.status != 200 && !strings.HasPrefix(challenge, `Bearer realm="orders"`) {
			t.Errorf("%s: challenge %q", name, challenge)
		}
		if r.Header.Get("X-Auth-Subject") != "root" {
			t.Errorf("%s: the caller's own request was changed", name)
		}
	}
}

// Rules go by the path that handlers behind see, whatever was done to it before.
func TestRewrittenPath(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	protect, err := httpmw.New(rig.Verifier, httpmw.Rules(verify.Rule{Match: []string{"/public/"}, Anonymous: true}))
	if err != nil {
		t.Fatal(err)
	}
	var app application
	rewrite := func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/secret" // and forgets RawPath, as many do
		protect(&app).ServeHTTP(w, r)
	}
	for name, c := range map[string]struct {
		before http.Handler
		target string
		status int
	}{
		"stripped":            {http.StripPrefix("/v1", protect(&app)), "/v1/public/%61", 200},
		"stripped elsewhere":  {http.StripPrefix("/public", protect(&app)), "/public/x", 401},
		"rewritten":           {http.HandlerFunc(rewrite), "/public/%61", 401},
		"as it was sent":      {protect(&app), "/public/%61", 200},
		"escaped, rewritten ": {http.StripPrefix("/v1", protect(&app)), "/v1/public/%2e%2e/x", 400},
	} {
		w := httptest.NewRecorder()
		c.before.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.target, http.NoBody))
		if w.Code != c.status {
			t.Errorf("%s: %d for %q, want %d", name, w.Code, app.path, c.status)
		}
	}
}

// What is under way is bounded, and whoever is too many is told so at once.
func TestMaxInFlight(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	protect, err := httpmw.New(rig.Verifier, httpmw.MaxInFlight(1))
	if err != nil {
		t.Fatal(err)
	}
	// Judging is what is bounded: a handler that is slow holds nobody up.
	var inner *httptest.ResponseRecorder
	good := rig.Good(t, nil)
	w := httptest.NewRecorder()
	protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		inner = httptest.NewRecorder()
		protect(&application{}).ServeHTTP(inner, get(t, "/", good))
	})).ServeHTTP(w, get(t, "/", good))
	if w.Code != http.StatusOK || inner == nil || inner.Code != http.StatusOK {
		t.Errorf("%d, within it %+v", w.Code, inner)
	}
}

// Whoever gives rules twice means all of them.
func TestRulesTwice(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	admin := httpmw.Rules(verify.Rule{Match: []string{"/admin/"}, Ask: verify.Ask{Roles: []string{"root"}}})
	protect, err := httpmw.New(rig.Verifier, admin, httpmw.Rules(verify.Rule{Match: []string{"/health"}, Anonymous: true}))
	if err != nil {
		t.Fatal(err)
	}
	for target, status := range map[string]int{"/admin/x": 403, "/health": 200, "/": 200} {
		w := httptest.NewRecorder()
		r := get(t, target, rig.Good(t, nil))
		if target == "/health" {
			r.Header.Del("Authorization")
		}
		protect(&application{}).ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("%s: %d, want %d", target, w.Code, status)
		}
	}
	if _, err := httpmw.New(rig.Verifier, admin, admin); err == nil || !strings.Contains(err.Error(), "rule 2") {
		t.Errorf("the same rule twice: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	for name, option := range map[string]httpmw.Option{
		"realm":  httpmw.Realm("a\r\nb"),
		"within": httpmw.Within(0),
		"flight": httpmw.MaxInFlight(0),
		"rules":  httpmw.Rules(verify.Rule{Match: []string{"nowhere"}}),
	} {
		if _, err := httpmw.New(rig.Verifier, option); err == nil {
			t.Errorf("%s: it passes", name)
		}
	}
}
