//go:build unix

package proxies

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// identity are the headers that the sidecar vouches with.
var identity = []string{"X-Auth-Subject", "X-Auth-Session", "X-Auth-Client", "X-Auth-Scope", "X-Auth-Roles", "X-Auth-Expires"}

const fresh = "X-Revocast-Fresh-As-Of"

// A good token passes, and the application learns whose it is from the sidecar.
func testIdentity(t *testing.T, r *rig, token string) {
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		mark := r.app.mark()
		a := send(t, r.address, request(method, "/orders?a=1&b=%20", "api.example", token))
		seen := r.app.since(mark)
		if a.status != http.StatusOK || len(seen) != 1 {
			t.Fatalf("%s: %s, and the application saw %d requests", method, a, len(seen))
		}
		if seen[0].Method != method || seen[0].URI != "/orders?a=1&b=%20" || seen[0].Host != "api.example" {
			t.Errorf("%s arrived as %s %s%s", method, seen[0].Method, seen[0].Host, seen[0].URI)
		}
		verified(t, r, seen[0], token)
	}
}

// verified checks that a request tells of who asks what the sidecar does, and nothing
// else; without a token, nothing.
func verified(t *testing.T, r *rig, s sighting, token string) {
	t.Helper()
	want := http.Header{}
	if token != "" {
		if want = r.ask(t, token); want.Get("X-Auth-Subject") == "" || want.Get("X-Auth-Roles") != "reader,writer" {
			t.Fatalf("the sidecar says %v", want)
		}
	}
	told := s.told(!r.proxy.trailers)
	for _, name := range identity {
		n := fold(name)
		if values := slices.DeleteFunc(told[n], func(v string) bool { return v == "" && want.Get(name) == "" }); len(values) > 1 || strings.Join(values, "") != want.Get(name) {
			t.Errorf("%s arrived as %q, want %q", name, told[n], want.Get(name))
		}
		delete(told, n)
	}
	n := fold(fresh)
	if asOf, err := time.Parse(time.RFC3339, strings.Join(told[n], "|")); err != nil || time.Since(asOf) > time.Hour {
		t.Errorf("%s arrived as %q", fresh, told[n])
	}
	delete(told, n)
	for name := range told {
		if !slices.Contains(r.proxy.keeps, name) {
			t.Errorf("%s arrived: %q", name, told[name])
		}
	}
}

// What the sidecar refuses is refused in its words, and does not arrive.
func testRefusals(t *testing.T, r *rig, token string) {
	const realm = `Bearer realm="revocast"`
	for name, c := range map[string]struct {
		request   string
		status    int
		challenge string
		retry     string
	}{
		"no token":       {get("/orders", "a", ""), 401, realm, ""},
		"garbage":        {get("/orders", "a", "x"), 401, realm + `, error="invalid_token", error_description="The access token is malformed"`, ""},
		"other scheme":   {get("/orders", "a", "", "Authorization: Basic YTpi"), 401, realm, ""},
		"scope":          {request("POST", "/orders/1", "a", token), 403, realm + `, error="insufficient_scope", error_description="The access token lacks a required scope", scope="delete"`, ""},
		"role":           {get("/secret/a", "a", token), 403, realm + `, error="insufficient_scope", error_description="The access token lacks a required role"`, ""},
		"cannot be read": {get("/orders;a=b", "a", token), 400, realm + `, error="invalid_request", error_description="The request cannot be read in one way only"`, ""},
		"joined":         {get("/orders", "a", token+", Bearer "+token), 400, realm + `, error="invalid_request", error_description="The request carries credentials more than once"`, ""},
		"not fresh":      {get("/fresh", "a", token), 503, "", "5"},
	} {
		t.Run(name, func(t *testing.T) {
			mark := r.app.mark()
			a := send(t, r.address, c.request)
			if n := len(r.app.since(mark)); n > 0 {
				t.Errorf("it arrived")
			}
			if a.status != c.status || strings.Join(a.header["Www-Authenticate"], "|") != c.challenge || a.header.Get("Retry-After") != c.retry {
				t.Errorf("got %s retry %q\nwant %d [%s] retry %q", a, a.header.Get("Retry-After"), c.status, c.challenge, c.retry)
			}
		})
	}
}

// spellings are those of a header's name that some server could take for it.
func spellings(name string) []string {
	under := strings.ReplaceAll(name, "-", "_")
	return []string{
		name, strings.ToLower(name), strings.ToUpper(name), under, strings.ToUpper(under),
		strings.Replace(name, "-", "_", 1), name[:strings.LastIndex(name, "-")] + "_" + name[strings.LastIndex(name, "-")+1:],
		strings.ReplaceAll(name, "-", "."), strings.Replace(name, "-", ".", 1), name[:strings.LastIndex(name, "-")] + "." + name[strings.LastIndex(name, "-")+1:],
	}
}

// caller is who asks for what. known is the token if the sidecar knows by it who that is.
type caller struct{ target, token, known string }

// enforcing are those that a sidecar lets through.
func enforcing(token string) []caller {
	return []caller{{"/orders", token, token}, {"/public/a", "", ""}, {"/public/a", token, ""}}
}

// What a client says of itself never arrives: with a good token, without one on a route
// that needs none, once and twice, in a trailer, and not by having what is verified
// removed either.
func testForged(t *testing.T, r *rig, cases []caller) {
	type forgery struct {
		name   string
		fields []string
		sure   bool // it is not refused
	}
	var forgeries []forgery
	for _, name := range append(slices.Clone(identity), fresh) {
		for i, s := range spellings(name) {
			forgeries = append(forgeries,
				forgery{s, []string{s + ": forged"}, i < 3},
				forgery{s + ", twice", []string{s + ": forged", s + ": forged"}, i < 3},
			)
		}
		forgeries = append(forgeries,
			forgery{name + ", a space before the colon", []string{name + " : forged"}, false},
			forgery{name + ", folded", []string{"X-Other: a", " " + name + ": forged"}, false},
			forgery{name + ", after a bare CR", []string{"X-Other: a\r" + name + ": forged"}, false},
			forgery{name + ", NUL", []string{name + "\x00: forged"}, false},
			forgery{"Connection: " + name, []string{"Connection: close, " + name, name + ": forged"}, false},
			forgery{"Connection: " + name + ", twice", []string{"Connection: " + strings.ToLower(name), "Connection: close"}, false},
		)
	}
	for _, name := range []string{"X-Auth-Anything", "X-Auth-Subject-Id", "X-Auth-", "X-Revocast-Anything", "X_Auth_Anything", "x_auth-anything"} {
		forgeries = append(forgeries, forgery{name, []string{name + ": forged"}, false})
	}
	forgeries = append(forgeries, forgery{"Connection: all", []string{"Connection: close, x-forwarded-uri, x-forwarded-host, x-forwarded-method, x-auth-roles"}, false})
	arrived := 0
	check := func(t *testing.T, f forgery, text string, c caller) {
		t.Helper()
		mark := r.app.mark()
		a := send(t, r.address, text)
		seen := r.app.since(mark)
		if f.sure && (a.status != http.StatusOK || len(seen) != 1) {
			t.Errorf("%s: %s, and the application saw %d requests", f.name, a, len(seen))
		}
		for _, s := range seen {
			arrived++
			verified(t, r, s, c.known)
			for name, values := range s.told(!r.proxy.trailers) {
				if slices.Contains(values, "forged") && !slices.Contains(r.proxy.keeps, name) {
					t.Errorf("%s arrived as %s", f.name, name)
				}
			}
		}
		if t.Failed() {
			t.Fatalf("%s: %s", f.name, a)
		}
	}
	for _, f := range forgeries {
		t.Run(f.name, func(t *testing.T) {
			for _, c := range cases {
				check(t, f, get(c.target, "api.example", c.token, f.fields...), c)
			}
		})
	}
	for _, name := range identity {
		t.Run(name+", in a trailer", func(t *testing.T) {
			for _, c := range cases {
				check(t, forgery{name: name}, fmt.Sprintf("POST %s HTTP/1.1\nHost: a\nAuthorization: Bearer %s\nConnection: close\nTransfer-Encoding: chunked\nTrailer: %s\nTE: trailers\n\n3\nabc\n0\n%s: forged\n\n", c.target, c.token, name, name), c)
			}
		})
	}
	if arrived < len(forgeries) {
		t.Errorf("of %d forgeries only %d requests arrived to be looked at", len(forgeries), arrived)
	}
}

// A sidecar that enforces nothing lets through what it would refuse. Who asks it says all
// the same, where the token is genuine, and otherwise of nobody.
func testShadow(t *testing.T, r *rig, token string, revoked session) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.sidecar.Restart(ctx, "--enforce=false"); err != nil {
		t.Fatal(err)
	}
	r.recovers(t, token)
	gone := revoked.tokens[0]
	testForged(t, r, []caller{
		{"/orders", token, token},
		{"/orders", gone, gone},
		{"/orders", "", ""},
		{"/orders", "x", ""},
		{"/orders", token[:len(token)-4] + "AAAA", ""}, // another signature
		{"/public/a", token, ""},
	})
}

// A body arrives as it is, and the sidecar gets none of it.
func testBody(t *testing.T, r *rig, token string) {
	if slices.Contains(r.proxy.sidecar, overSocket[1]) || slices.Contains(r.proxy.sidecar, overGRPCSocket[1]) {
		t.Skip("what goes over a Unix socket is not listened to; it is what goes over TCP")
	}
	http, grpc := startRelay(t, r.sidecar.Ports.HTTP), startRelay(t, r.sidecar.Ports.GRPC)
	address, _ := r.launch(t, http.port, grpc.port)
	body := strings.Repeat("0123456789", 5000)
	for name, text := range map[string]string{
		"length":  fmt.Sprintf("PUT /uploads HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", token, len(body), body),
		"chunked": fmt.Sprintf("PUT /uploads HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", token, len(body), body),
	} {
		mark := r.app.mark()
		a := sendRaw(t, address, text)
		if seen := r.app.since(mark); a.status != 200 || len(seen) != 1 || seen[0].Body != body {
			t.Errorf("%s: %s, and the application saw %d requests", name, a, len(seen))
		}
	}
	if asked := http.said() + grpc.said(); !strings.Contains(asked, "/uploads") || strings.Contains(asked, body[:100]) {
		t.Errorf("the sidecar was told the body, or nothing, in %d bytes", len(asked))
	}
}
