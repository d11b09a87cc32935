package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// Nothing that a client says reaches the application in the front's name, nor in that of
// whoever stands before it; and nothing that is meant for one connection alone.
func TestWhatTheApplicationGets(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	token := rig.Good(t, nil)
	for _, kind := range []string{"http", "h2", "unix"} {
		t.Run(kind, func(t *testing.T) {
			a := newApplication(t, "http", nil)
			e := newEntrance(t, kind, a, rig.Checker(t))
			r := e.request(t, "POST", "/orders/7?q=a;b&c=%zz&scope=read", token, strings.NewReader("body"))
			for _, name := range []string{
				"X-Auth-Subject", "X-Auth-Roles", "X-Auth-Admin", "X_Auth_Subject", "x-Auth_session", "X.Auth.Subject", "X-Auth.Roles", "X!Auth#Subject", "X.Revocast.Any", "X-Revocast-Fresh-As-Of", "X_REVOCAST_ANYTHING",
				"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X_Forwarded_For", "Forwarded", "X-Real-Ip", "X-Original-Url",
				"X-Rewrite-Url", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "HTTP2-Settings",
				"X.Forwarded.For", "X.Real.Ip", "X.Http.Method.Override", "X-Http_Method.Override", "X-Method", "X-Override-Url", "X-Http-Destinationurl",
				"Keep-Alive", "Proxy-Connection", "Proxy-Authorization",
			} {
				r.Header[name] = []string{"forged"}
			}
			r.Header.Set("X-Own", "kept")
			r.Header.Set("Via", "1.0 somebody")
			if kind != "h2" { // where the connection has no headers
				r.Header["Connection"] = []string{"X-Auth-Subject, X-Auth-Session, X-Forwarded-For, X-Own-Hop"}
				r.Header.Set("X-Own-Hop", "forged")
			}
			r.Trailer = http.Header{"X-Auth-Subject": {"forged"}, "X-Sum": {"1"}}
			r.ContentLength = -1
			answer := e.ask(t, r)
			got := a.take()
			if answer.StatusCode != http.StatusOK || len(got) != 1 {
				t.Fatalf("status %d, %d requests", answer.StatusCode, len(got))
			}
			h := got[0].header
			for name, values := range h {
				if slices.Contains(values, "forged") {
					t.Errorf("%s: %q", name, values)
				}
			}
			from := "127.0.0.1"
			if kind == "unix" {
				from = "" // a socket has no addresses
			}
			proto := map[bool]string{true: "https", false: "http"}[kind == "h2"]
			via := map[bool]string{true: "2.0 revocast", false: "1.1 revocast"}[kind == "h2"]
			for name, want := range map[string]string{
				"X-Auth-Subject": "alice", "X-Auth-Session": "sid-1", "X-Auth-Roles": "admin,user", "X-Own": "kept",
				"X-Forwarded-For": from, "X-Forwarded-Host": r.URL.Host, "X-Forwarded-Proto": proto, "Authorization": "Bearer " + token,
			} {
				if h.Get(name) != want || len(h[name]) > 1 {
					t.Errorf("%s: %q, want %q", name, h[name], want)
				}
			}
			if !slices.Equal(h["Via"], []string{"1.0 somebody", via}) {
				t.Errorf("Via: %q", h["Via"])
			}
			if got[0].target != "/orders/7?q=a;b&c=%zz&scope=read" || got[0].body != "body" || got[0].host != r.URL.Host || len(got[0].trailer) != 0 {
				t.Errorf("%+v", got[0])
			}
		})
	}
}

// An anonymous route passes on nobody's identity.
func TestAnonymous(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	a := newApplication(t, "http", nil)
	e := newEntrance(t, "http", a, rig.Checker(t, route.Rule{Match: []string{"/public/"}, Anonymous: true}))
	r := e.request(t, "GET", "/public/", "", http.NoBody)
	r.Header.Set("X-Auth-Subject", "root")
	answer := e.ask(t, r)
	got := a.take()
	if answer.StatusCode != http.StatusOK || len(got) != 1 || len(got[0].header["X-Auth-Subject"]) != 1 || got[0].header.Get("X-Auth-Subject") != "" {
		t.Errorf("%d, %+v", answer.StatusCode, got)
	}
}

// The application's answer comes as it is, but for what only the front may say: in its
// header, in what is said on the way (103), and behind its body.
func TestWhatTheClientGets(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	app := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		mine := func() {
			for _, name := range []string{"X-Auth-Subject", "X_auth_roles", "X.Auth.Subject", "X!Revocast!Any", "X-Revocast-Fresh-As-Of", "X_Revocast_Any"} {
				h[name] = []string{"told"}
			}
		}
		mine()
		h.Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		mine()
		h.Set("X-Own", "kept")
		h["Set-Cookie"] = []string{"a=1", "b=2"}
		if r.ProtoMajor == 1 {
			h.Set("Connection", "X-Own-Hop, X-Revocast-Fresh-As-Of")
			h.Set("X-Own-Hop", "told")
		}
		h.Set("Content-Encoding", "gzip") // it is not, and nobody looks
		h.Set("Trailer", "X-Sum, X-Auth-Session")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "body")
		h.Set("X-Sum", "1")
		h.Set("X-Auth-Session", "told")
		h.Set(http.TrailerPrefix+"X-Auth-Roles", "told")
		h.Set(http.TrailerPrefix+"X.Auth.Roles", "told")
		h.Set(http.TrailerPrefix+"X-Late", "2")
	}
	for _, kind := range []string{"http", "h2"} {
		for _, upstream := range []string{"http", "h2c"} {
			t.Run(kind+" to "+upstream, func(t *testing.T) {
				e := newEntrance(t, kind, newApplication(t, upstream, app), rig.Checker(t))
				r := e.request(t, "GET", "/", rig.Good(t, nil), http.NoBody)
				var hints []http.Header
				r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
					Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
						hints = append(hints, http.Header(h).Clone())
						return nil
					},
				}))
				answer := e.ask(t, r)
				if answer.StatusCode != http.StatusTeapot || answer.body != "body" || len(hints) != 1 || hints[0].Get("Link") == "" {
					t.Fatalf("%d %q, %v", answer.StatusCode, answer.body, hints)
				}
				for _, h := range append(hints, answer.Header, answer.Trailer) {
					for name, values := range h {
						if slices.Contains(values, "told") {
							t.Errorf("%s: %q", name, values)
						}
					}
				}
				if len(answer.Header[front.FreshAsOf]) != 1 || len(answer.Header["Set-Cookie"]) != 2 || answer.Header.Get("X-Own") != "kept" ||
					answer.Header.Get("Content-Encoding") != "gzip" || answer.Trailer.Get("X-Sum") != "1" || answer.Trailer.Get("X-Late") != "2" {
					t.Errorf("%v, %v", answer.Header, answer.Trailer)
				}
			})
		}
	}
}

// What a parser could read in two ways is refused, or passed on in one; in no case does
// the application see a request that was not judged.
func TestSmuggling(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	auth := "Authorization: Bearer " + rig.Good(t, nil) + "\r\n"
	for name, c := range map[string]struct {
		raw      string
		requests int // that may reach the application
	}{
		"length and chunks":     {"POST / HTTP/1.1\r\nHost: a\r\n" + auth + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n", 1},
		"two lengths":           {"POST / HTTP/1.1\r\nHost: a\r\n" + auth + "Content-Length: 0\r\nContent-Length: 34\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n" + auth + "\r\n", 0},
		"lengths in a list":     {"POST / HTTP/1.1\r\nHost: a\r\n" + auth + "Content-Length: 0, 34\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n" + auth + "\r\n", 0},
		"length with a sign":    {"POST / HTTP/1.1\r\nHost: a\r\n" + auth + "Content-Length: +0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n" + auth + "\r\n", 0},
		"odd coding":            {"POST / HTTP/1.1\r\nHost: a\r\n" + auth + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n", 0},
		"two codings":           {"POST / HTTP/1.1\r\nHost: a\r\n" + auth + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 0},
		"space before colon":    {"POST / HTTP/1.1\r\nHost: a\r\n" + auth + "Content-Length : 5\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n", 0},
		"coding behind a tab":   {"POST / HTTP/1.1\r\nHost: a\r\n" + auth + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 0},
		"chunk size overflows":  {"POST / HTTP/1.1\r\nHost: a\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nx\r\n0\r\n\r\n", 0},
		"two hosts":             {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + auth + "\r\n", 0},
		"no host":               {"GET / HTTP/1.0\r\n" + auth + "\r\n", 0},
		"line break in a name":  {"GET / HTTP/1.1\r\nHost: a\r\nX-Auth\n-Subject: root\r\n" + auth + "\r\n", 0},
		"null in a value":       {"GET / HTTP/1.1\r\nHost: a\r\nX-Own: a\x00b\r\n" + auth + "\r\n", 0},
		"tunnel asked for":      {"CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\n" + auth + "\r\n", 0},
		"no path":               {"OPTIONS * HTTP/1.1\r\nHost: a\r\n" + auth + "\r\n", 0},
		"two requests, one let": {"GET /first HTTP/1.1\r\nHost: a\r\n" + auth + "\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApplication(t, "http", nil)
			e := newEntrance(t, "http", a, rig.Checker(t))
			conn := e.dial(t)
			if _, err := io.WriteString(conn, c.raw+"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			statuses := ""
			for {
				answer, err := http.ReadResponse(in, nil)
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
				statuses += fmt.Sprint(" ", answer.StatusCode)
			}
			got := a.take()
			for _, r := range got {
				if strings.Contains(r.target, "evil") || r.header.Get("X-Auth-Subject") != "alice" || strings.Contains(r.body, "evil") {
					t.Errorf("the application got %+v", r)
				}
			}
			if len(got) != c.requests || c.requests == 0 && !strings.HasPrefix(statuses, " 400") && !strings.HasPrefix(statuses, " 501") {
				t.Errorf("%d requests came through, want %d; answers%s", len(got), c.requests, statuses)
			}
		})
	}
}

// A folded line (RFC 9112 section 5.2) is one value, for the judge and the application.
func TestFoldedLine(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	a := newApplication(t, "http", nil)
	e := newEntrance(t, "http", a, rig.Checker(t))
	conn := e.dial(t)
	_, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\nX-Own: one\r\n X-Auth-Subject: root\r\nAuthorization: Bearer %s\r\n\r\n", rig.Good(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	for _, r := range a.take() {
		if r.header.Get("X-Auth-Subject") != "alice" || r.header.Get("X-Own") != "one X-Auth-Subject: root" {
			t.Errorf("the application got %v", r.header)
		}
	}
}
