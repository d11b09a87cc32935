package httpmw_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
	"github.com/revocast/revocast/sidecar/verify/httpmw"
)

// reader is an application that reads the body before it looks at anything else.
type reader struct {
	body            string
	header, trailer http.Header
	announced       []string
}

func (a *reader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.announced = slices.Sorted(maps.Keys(r.Trailer))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	a.body, a.header, a.trailer = string(body), r.Header.Clone(), r.Trailer.Clone()
}

// A client cannot speak for the middleware in what it sends: not by names that are read
// as others, nor behind the body, announced or not; nor for another method or path.
func TestWhatHandlersGet(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	var app reader
	server := serve(t, rig.Checker(t), &app)
	for name, announced := range map[string]string{
		"announced": "X-Auth-Subject, X.Auth.Roles, X-Sum, X-Http-Method-Override", "one announced": "X-Sum", "none announced": "",
	} {
		t.Run(name, func(t *testing.T) {
			app = reader{}
			trailer := ""
			if announced != "" {
				trailer = "Trailer: " + announced + "\r\n"
			}
			forged := "X-Auth-Subject: forged\r\nX.Auth.Roles: forged\r\nX!Auth#Scope: forged\r\nX_Auth_Roles: forged\r\nX-Http-Method-Override: forged\r\nX.Rewrite.Url: forged\r\n"
			got := fronttest.SendText(t, server.Listener.Addr().String(), http.MethodPost, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Own: kept\r\n"+forged+
				"Authorization: Bearer "+rig.Good(t, nil)+"\r\nTransfer-Encoding: chunked\r\n"+trailer+"\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\nX-Late: 2\r\n"+forged+"\r\n")
			if got.Status != http.StatusOK || app.body != "body" || app.header.Get("X-Own") != "kept" || app.header.Get("X-Auth-Subject") != "alice" {
				t.Fatalf("%d, %+v", got.Status, app)
			}
			for _, h := range []http.Header{app.header, app.trailer} {
				for name, values := range h {
					if slices.Contains(values, "forged") {
						t.Errorf("%s: %q", name, values)
					}
				}
			}
			if announced == "" {
				if len(app.announced) != 0 || len(app.trailer) != 0 {
					t.Errorf("trailer %v", app.trailer)
				}
				return
			}
			if !slices.Equal(app.announced, []string{"X-Sum"}) || app.trailer.Get("X-Sum") != "1" || app.trailer.Get("X-Late") != "2" || len(app.trailer) != 2 {
				t.Errorf("announced %q, trailer %v", app.announced, app.trailer)
			}
		})
	}
}

// A reverse proxy among the handlers passes on who asks, whatever the client says that its
// connection needs, and nothing that the client says behind the body.
func TestProxyBehind(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	var app reader
	behind := httptest.NewServer(&app)
	t.Cleanup(behind.Close)
	to, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	server := serve(t, rig.Checker(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body) // so that the trailer is there
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		forward.ServeHTTP(w, r)
	}))
	for _, connection := range []string{
		"close", "close, X-Auth-Subject, X-Auth-Roles", "x-auth-subject ,\tX-AUTH-ROLES,X-Own-Hop, close", "close\r\nConnection: X-Auth-Subject\r\nConnection: X-Auth-Roles, X-Own-Hop",
	} {
		app = reader{}
		got := fronttest.SendText(t, server.Listener.Addr().String(), http.MethodPost, fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nConnection: %s\r\nX-Own-Hop: 1\r\nAuthorization: Bearer %s\r\n"+
			"Transfer-Encoding: chunked\r\nTrailer: X-Auth-Subject, X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Auth-Subject: root\r\nX-Sum: 1\r\n\r\n", connection, rig.Good(t, nil)))
		if got.Status != http.StatusOK || app.header.Get("X-Auth-Subject") != "alice" || app.header.Get("X-Auth-Roles") != "admin,user" {
			t.Errorf("%q: %d, %v", connection, got.Status, app.header)
		}
		if hop := app.header.Get("X-Own-Hop") != ""; hop == strings.Contains(connection, "X-Own-Hop") {
			t.Errorf("%q: passed on what is the connection's: %t", connection, hop)
		}
		if len(app.trailer["X-Auth-Subject"]) != 0 || app.trailer.Get("X-Sum") != "1" {
			t.Errorf("%q: trailer %v", connection, app.trailer)
		}
	}
}

// So it is in HTTP/2, where nothing but what was announced comes behind a body.
func TestTrailerInHTTP2(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	var app reader
	server := httptest.NewUnstartedServer(httpmw.Over(rig.Checker(t))(&app))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.MultiReader(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+rig.Good(t, nil))
	r.Trailer = http.Header{"X-Auth-Subject": {"root"}, "X-Sum": {"1"}}
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.ProtoMajor != 2 || answer.StatusCode != http.StatusOK || app.body != "body" || !slices.Equal(app.announced, []string{"X-Sum"}) ||
		len(app.trailer) != 1 || app.trailer.Get("X-Sum") != "1" {
		t.Errorf("%s %d, %+v", answer.Proto, answer.StatusCode, app)
	}
}
