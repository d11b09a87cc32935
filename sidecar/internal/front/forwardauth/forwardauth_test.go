package forwardauth_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/front/forwardauth"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

type object = tokentest.Object

// identity are the headers that every answer sets.
var identity = []string{"X-Auth-Subject", "X-Auth-Session", "X-Auth-Client", "X-Auth-Scope", "X-Auth-Roles", "X-Auth-Expires"}

// rig is the handler behind a real server on loopback.
type rig struct {
	*verifytest.Rig
	server *httptest.Server
}

func newFront(t testing.TB, policy gate.Policy) *rig {
	t.Helper()
	f := &rig{Rig: verifytest.New(t, policy)}
	h, err := forwardauth.New(forwardauth.Forwarded, f.Checker(t))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth", h)
	f.server = httptest.NewServer(mux)
	t.Cleanup(f.server.Close)
	return f
}

// reply is a response that has been read to its end.
type reply struct {
	StatusCode int
	Header     http.Header
	body       string
}

func (f *rig) ask(t testing.TB, method, query string, authorization ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.server.URL+"/auth"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header["Authorization"] = authorization
	for _, name := range identity { // a client's forgeries, handed on by the proxy
		r.Header.Set(name, "forged")
	}
	answer, err := f.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, string(body)}
}

func TestPasses(t *testing.T) {
	f := newFront(t, gate.DefaultPolicy())
	asOf := time.Now().Add(-3 * time.Second)
	f.View.Set(asOf, true)
	exp := time.Now().Add(5 * time.Minute).Unix()
	raw := f.Good(t, object{"exp": exp, "roles": []string{"admin", "a,b", "50%", "Domain Users"}, "sub": "älice"})
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"} {
		answer := f.ask(t, method, "", "Bearer "+raw)
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d", method, answer.StatusCode)
		}
		for name, want := range map[string]string{
			"X-Auth-Subject": "älice", "X-Auth-Session": "sid-1", "X-Auth-Client": "demo", "X-Auth-Scope": "read write",
			"X-Auth-Roles": "admin,a%2Cb,50%25,Domain Users", "X-Auth-Expires": strconv.FormatInt(exp, 10),
			"X-Revocast-Fresh-As-Of": asOf.UTC().Format("2006-01-02T15:04:05.000Z"), "WWW-Authenticate": "", "Retry-After": "", "Cache-Control": "no-store",
		} {
			if got := answer.Header[name]; len(got) > 1 || answer.Header.Get(name) != want {
				t.Errorf("%s: %s: %q, want %q", method, name, got, want)
			}
		}
	}
	answer := f.ask(t, "GET", "", "bearer "+f.Good(t, object{"sid": nil, "scope": nil, "roles": nil}))
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("without a session: status %d", answer.StatusCode)
	}
	for _, name := range []string{"X-Auth-Session", "X-Auth-Scope", "X-Auth-Roles"} {
		if got := answer.Header[name]; len(got) != 1 || got[0] != "" {
			t.Errorf("%s: %q, want one empty value", name, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	f := newFront(t, gate.DefaultPolicy())
	good := f.Good(t, nil)
	revoked := f.Good(t, object{"sid": "sid-revoked"})
	f.Revoke(t, events.KindSession, "sid-revoked", time.Now().Add(time.Hour))
	const realm = `Bearer realm="orders"`
	invalid := func(description string) string {
		return realm + `, error="invalid_token", error_description="` + description + `"`
	}
	const twice = realm + `, error="invalid_request", error_description="The request carries credentials more than once"`
	const unreadable = realm + `, error="invalid_request", error_description="The request cannot be read in one way only"`
	for name, c := range map[string]struct {
		query     string
		fields    []string
		status    int
		challenge string
	}{
		"no credentials":      {"", nil, 401, realm},
		"empty":               {"", []string{""}, 401, realm},
		"basic":               {"", []string{"Basic YTpi"}, 401, realm},
		"no token":            {"", []string{"Bearer "}, 401, invalid("The access token is malformed")},
		"garbage":             {"", []string{"Bearer garbage"}, 401, invalid("The access token is malformed")},
		"quote":               {"", []string{`Bearer "` + good + `"`}, 401, invalid("The access token is malformed")},
		"alg none":            {"", []string{"Bearer " + tokentest.Encode([]byte(`{"alg":"none","typ":"at+jwt"}`)) + ".e30."}, 401, invalid("The access token is not trusted here")},
		"wrong audience":      {"", []string{"Bearer " + f.Good(t, object{"aud": "x"})}, 401, invalid("The access token is not trusted here")},
		"expired":             {"", []string{"Bearer " + f.Issuer.Good(t, time.Now().Add(-time.Hour), nil)}, 401, invalid("The access token expired")},
		"premature":           {"", []string{"Bearer " + f.Issuer.Good(t, time.Now().Add(time.Hour), nil)}, 401, invalid("The access token is not valid yet")},
		"revoked":             {"", []string{"Bearer " + revoked}, 401, invalid("The access token was revoked")},
		"DPoP":                {"", []string{"DPoP " + good}, 401, invalid("Sender-constrained tokens are not supported here")},
		"bound, as Bearer":    {"", []string{"Bearer " + f.Good(t, object{"cnf": object{"jkt": "x"}})}, 401, invalid("Sender-constrained tokens are not supported here")},
		"two fields":          {"", []string{"Bearer " + good, "Bearer " + good}, 400, twice},
		"two joined":          {"", []string{"Bearer " + good + ", Bearer " + good}, 400, twice},
		"in the query too":    {"?access_token=" + good, []string{"Bearer " + good}, 400, unreadable},
		"in the query only":   {"?access_token=" + good, nil, 400, unreadable},
		"scope missing":       {"?scope=read+delete", []string{"Bearer " + good}, 403, realm + `, error="insufficient_scope", error_description="The access token lacks a required scope", scope="read delete"`},
		"scope, revoked":      {"?scope=delete", []string{"Bearer " + revoked}, 401, invalid("The access token was revoked")},
		"scope empty":         {"?scope=", []string{"Bearer " + good}, 400, unreadable},
		"scope with a quote":  {"?scope=a%22", []string{"Bearer " + good}, 400, unreadable},
		"scope, line break":   {"?scope=a%0d%0aX:+y", []string{"Bearer " + good}, 400, unreadable},
		"scope, two spaces":   {"?scope=read++write", []string{"Bearer " + good}, 400, unreadable},
		"max_stale empty":     {"?max_stale=", []string{"Bearer " + good}, 400, unreadable},
		"max_stale no unit":   {"?max_stale=5", []string{"Bearer " + good}, 400, unreadable},
		"max_stale zero":      {"?max_stale=0s", []string{"Bearer " + good}, 400, unreadable},
		"max_stale negative":  {"?max_stale=-5s", []string{"Bearer " + good}, 400, unreadable},
		"max_stale overflows": {"?max_stale=9999999999h", []string{"Bearer " + good}, 400, unreadable},
		"max_stale twice":     {"?max_stale=1h&max_stale=2h", []string{"Bearer " + good}, 400, unreadable},
		"misspelt":            {"?max-stale=5s", []string{"Bearer " + good}, 400, unreadable},
		"other case":          {"?Scope=delete", []string{"Bearer " + good}, 400, unreadable},
		"semicolon":           {"?scope=read;max_stale=5s", []string{"Bearer " + good}, 400, unreadable},
		"bad escape":          {"?scope=%zz", []string{"Bearer " + good}, 400, unreadable},
		"long query":          {"?scope=" + strings.Repeat("a", 2<<10), []string{"Bearer " + good}, 400, unreadable},
		"unreadable, revoked": {"?scope=", []string{"Bearer " + revoked}, 400, unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			answer := f.ask(t, "GET", c.query, c.fields...)
			if answer.StatusCode != c.status || answer.Header.Get("WWW-Authenticate") != c.challenge || len(answer.Header["Www-Authenticate"]) != 1 {
				t.Errorf("got %d %s\nwant %d %s", answer.StatusCode, answer.Header["Www-Authenticate"], c.status, c.challenge)
			}
			nothingKnown(t, answer)
			if answer.Header.Get("X-Revocast-Fresh-As-Of") == "" || answer.Header.Get("Retry-After") != "" {
				t.Errorf("headers %v", answer.Header)
			}
		})
	}
	for _, query := range []string{"?scope=read", "?scope=read+write", "?scope=read&scope=write", "?max_stale=1m", "?scope=write&max_stale=1h"} {
		if answer := f.ask(t, "GET", query, "Bearer "+good); answer.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", query, answer.StatusCode)
		}
	}
}

// nothingKnown checks that an answer sets every identity header, once, empty, and
// has no body.
func nothingKnown(t *testing.T, answer reply) {
	t.Helper()
	for _, name := range identity {
		if got := answer.Header[name]; len(got) != 1 || got[0] != "" {
			t.Errorf("%s: %q, want one empty value", name, got)
		}
	}
	if answer.body != "" {
		t.Errorf("body %q", answer.body)
	}
}

// What cannot be judged is 503 with Retry-After and no challenge.
func TestUnavailable(t *testing.T) {
	f := newFront(t, gate.Policy{StaleAfter: 30 * time.Second})
	good := "Bearer " + f.Good(t, nil)
	check := func(name, query, fresh string) {
		t.Helper()
		answer := f.ask(t, "GET", query, good)
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") != "5" || answer.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d, %v", name, answer.StatusCode, answer.Header)
		}
		if got, set := answer.Header["X-Revocast-Fresh-As-Of"]; !set || got[0] != fresh {
			t.Errorf("%s: fresh as of %q, want %q", name, got, fresh)
		}
		nothingKnown(t, answer)
	}
	asOf := time.Now().Add(-time.Minute).UTC().Truncate(time.Millisecond)
	f.View.Set(asOf, true)
	check("stale", "", asOf.Format("2006-01-02T15:04:05.000Z"))
	f.View.Set(time.Time{}, false)
	check("never ready", "", "")
	asOf = time.Now().Add(-20 * time.Second).UTC().Truncate(time.Millisecond)
	f.View.Set(asOf, true)
	if answer := f.ask(t, "GET", "", good); answer.StatusCode != http.StatusOK {
		t.Errorf("within stale-after: %d", answer.StatusCode)
	}
	check("staler than asked", "?max_stale=10s", asOf.Format("2006-01-02T15:04:05.000Z"))
}

// Shadow mode passes everything and vouches only for what is genuine.
func TestShadow(t *testing.T) {
	policy := gate.DefaultPolicy()
	policy.Shadow = true
	f := newFront(t, policy)
	f.Revoke(t, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	good := f.Good(t, nil)
	for name, c := range map[string]struct {
		query   string
		fields  []string
		subject string
	}{
		"revoked":        {"", []string{"Bearer " + good}, "alice"},
		"scope":          {"?scope=delete", []string{"Bearer " + good}, "alice"},
		"no credentials": {"", nil, ""},
		"garbage":        {"", []string{"Bearer x"}, ""},
		"two":            {"", []string{"Bearer " + good, "Bearer " + good}, ""},
		"unreadable":     {"?scope=", []string{"Bearer " + good}, ""},
	} {
		answer := f.ask(t, "GET", c.query, c.fields...)
		if answer.StatusCode != http.StatusOK || answer.Header.Get("X-Auth-Subject") != c.subject || answer.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d, %v", name, answer.StatusCode, answer.Header)
		}
	}
}

// A body is never waited for: the answer comes though none of the announced
// mebibyte does, and the connection is not used again.
func TestBodyIsNotRead(t *testing.T) {
	f := newFront(t, gate.DefaultPolicy())
	good := f.Good(t, nil)
	for _, header := range []string{"Content-Length: 1048576", "Transfer-Encoding: chunked", "Content-Length: 10\r\nExpect: 100-continue"} {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", f.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(c, "POST /auth HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n", good, header)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || answer.StatusCode != http.StatusOK || !answer.Close {
			t.Fatalf("%s: %+v, %v", header, answer, err)
		}
		if err := errors.Join(answer.Body.Close(), c.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestFamilies(t *testing.T) {
	f := verifytest.New(t, gate.DefaultPolicy())
	if _, err := forwardauth.New("x-rewrite", f.Checker(t)); err == nil {
		t.Error("a family that nobody knows passes")
	}
}

// Nothing in any query makes the handler panic or answer 200 to a token that is
// revoked.
func FuzzQuery(f *testing.F) {
	world := verifytest.New(f, gate.DefaultPolicy())
	h, err := forwardauth.New(forwardauth.Forwarded, world.Checker(f))
	if err != nil {
		f.Fatal(err)
	}
	world.Revoke(f, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	raw := world.Issuer.Good(f, time.Now(), object{"exp": time.Now().Add(time.Hour).Unix()})
	for _, q := range []string{"", "scope=read", "scope=%22", "max_stale=5s", "max_stale=1e9h", "a=b;c", "scope=a&scope=b"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{
			Method: http.MethodGet, URL: &url.URL{Path: "/auth", RawQuery: query}, Header: http.Header{"Authorization": {"Bearer " + raw}},
		})
		if w.Code != http.StatusUnauthorized && w.Code != http.StatusBadRequest && w.Code != http.StatusServiceUnavailable {
			t.Errorf("query %q: status %d", query, w.Code)
		}
	})
}
