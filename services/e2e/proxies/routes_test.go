//go:build unix

package proxies

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// tricks are paths that some server reads as one below /secret, though they do not begin
// like one.
var tricks = []string{
	"/public/../secret/a", "/public/%2e%2e/secret/a", "/public/%2E%2E/secret/a", "/public/.%2e/secret/a", "/public/%2e./secret/a",
	"/public/x/../../secret/a", "/public/./../secret/a", "/public/%252e%252e/secret/a",
	"//secret/a", "///secret/a", "/public//../secret/a", "/./secret/a", "/%2e/secret/a", "/public/..//secret/a",
	"/public/..;/secret/a", "/public/..;a=b/secret/a", "/public;/../secret/a", "/secret;/a", "/secret;a=b/c", "/;/secret/a",
	"/public/..%2fsecret/a", "/public%2f..%2fsecret/a", "/public/..%2Fsecret%2Fa", "/%2fsecret/a", "/public/%2e%2e%2fsecret/a", "/public/..%252fsecret/a",
	`/public/..\secret/a`, `/public\..\secret\a`, `/\secret/a`, "/public/..%5csecret/a", "/%5csecret/a",
	"/secret", "/secret/", "/secret/a/", "/secret/../secret/a", "/%73ecret/a", "/%73%65%63%72%65%74/a", "/secret%2fa", "/secret%00", "/secret%00.png",
	"/secret/a?", "/secret/a?x=/public/", "/secret/a#/public/", "/secret/a%23", "/secret/a%3f", "/secret?/public/", "/public/../secret?x",
	"/secret\t/a", "/secret%09/a", "/secret%0a/a", "/secret /a", "/secret%20/a", "/sec\x00ret/a", "/public/%c0%ae%c0%ae/secret/a", "/public/%u002e%u002e/secret/a",
	"/public/%", "/public/%2", "/public/%zz/../secret/a", "secret/a", "*", "", "/public/.../secret", "http://api.example/secret/a",
	"http://api.example//secret/a", "http://api.example/public/../secret/a", "http:///secret/a", "//api.example/secret/a", "/public/http://api.example/../../../../secret/a",
}

// However a proxy reads a path, no request reaches what the sidecar's rules protect: none
// below /secret at all, for nobody has the role, and without a token none but those that
// every server reads as below /public. The application says what arrived.
func testRoutes(t *testing.T, r *rig, token string) {
	check := func(t *testing.T, text, token string) (a answer, seen []sighting) {
		t.Helper()
		mark := r.app.mark()
		a = send(t, r.address, text)
		seen = r.app.since(mark)
		for _, s := range seen {
			if s.below("/secret") {
				t.Errorf("%q arrived as %s %s, which can be read as below /secret", first(text), s.Method, s.URI)
			}
			if token == "" && !s.only("/public") && (!s.only("/health") || s.Method != http.MethodGet && s.Method != http.MethodHead) {
				t.Errorf("%q arrived as %s %s without a token", first(text), s.Method, s.URI)
			}
		}
		return a, seen
	}
	for _, c := range []struct {
		method, target, token string
		status                int
	}{
		{"GET", "/public/a", "", 200},
		{"GET", "/public/a/", "", 200},
		{"GET", "/public/a%20b?c=../d", "", 200},
		{"GET", "/health", "", 200},
		{"HEAD", "/health", "", 200},
		{"POST", "/health", "", 401},
		{"POST", "/health", token, 200},
		{"GET", "/orders", "", 401},
		{"GET", "/orders/", token, 200},
		{"POST", "/orders/1", token, 403},
		{"GET", "/secret/a", token, 403},
		{"GET", "/secret", token, 403},
		{"GET", "/secret/", "", 401},
		{"GET", "/publicity", "", 401},
		{"GET", "/healthy", "", 401},
	} {
		if a, seen := check(t, request(c.method, c.target, "api.example", c.token), c.token); a.status != c.status || (len(seen) == 1) != (c.status == 200) {
			t.Errorf("%s %s: %s, and %d arrived; want %d", c.method, c.target, a, len(seen), c.status)
		}
	}
	arrived := map[string][]string{}
	for _, method := range []string{"GET", "POST"} {
		for _, target := range tricks {
			for _, bearer := range []string{"", token} {
				a, seen := check(t, request(method, target, "api.example", bearer), bearer)
				for _, s := range seen {
					arrived[target] = append(arrived[target], fmt.Sprintf("%s as %s", s.Method, s.URI))
				}
				if a.status == 200 && len(seen) == 0 {
					t.Errorf("%s %s: 200 of the proxy itself", method, target)
				}
			}
		}
	}
	t.Logf("of %d tricks these arrived, harmless: %v", len(tricks), arrived)

	// What the client says that it asks for is nobody's word.
	for _, name := range []string{
		"X-Forwarded-Uri", "X-Original-Uri", "X-Original-URL", "X-Rewrite-URL", "X_Forwarded_Uri", "X-Forwarded-Path", "X-Envoy-Original-Path",
	} {
		for _, fields := range [][]string{
			{name + ": /public/a"},
			{name + ": /public/a", name + ": /public/a"},
			{name + ": /public/a", "X-Forwarded-Method: GET", "X-Original-Method: GET", "X-Forwarded-Host: api.example", "X-Original-Host: api.example"},
			{name + ": /public/a", "Connection: close, x-forwarded-uri, x-original-uri, x-forwarded-method, x-original-method"},
		} {
			check(t, get("/secret/a", "api.example", "", fields...), "")
			check(t, get("/secret/a", "api.example", token, fields...), token)
			check(t, get("/orders", "api.example", "", fields...), "")
		}
	}
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method", "X-HTTP-Method-Override", "X_Forwarded_Method"} {
		check(t, request("POST", "/health", "api.example", "", name+": GET"), "")
		if _, seen := check(t, request("POST", "/orders/1", "api.example", token, name+": GET"), token); len(seen) > 0 {
			t.Errorf("%s: POST /orders/1 arrived without its scope", name)
		}
	}
	for _, method := range []string{"get", "Get", "post", "GET\t", "PROPFIND", "CONNECT", "TRACE", "PRI", "G-T", "\x00GET"} {
		check(t, request(method, "/health", "api.example", ""), "")
		check(t, request(method, "/secret/a", "api.example", token), token)
	}
}

// What some applications take a request by for another does not arrive: the sidecar has
// judged it by its method and path.
func testOverrides(t *testing.T, r *rig, token string) {
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"} {
		for _, spelt := range spellings(name) {
			mark := r.app.mark()
			a := send(t, r.address, get("/orders", "api.example", token, spelt+": DELETE"))
			for _, s := range r.app.since(mark) {
				for got := range s.Header {
					if fold(got) == fold(name) {
						t.Errorf("%s arrived as %s", spelt, got)
					}
				}
			}
			if spelt == name && a.status != http.StatusOK {
				t.Errorf("%s: %s", name, a)
			}
		}
	}
}

func first(request string) string {
	line, _, _ := strings.Cut(request, "\n")
	return line
}

// A rule for a host holds however the host is written. Nobody has the role that
// admin.example demands.
func testHosts(t *testing.T, r *rig, token string) {
	const closes = "Connection: close\n"
	authorization := "Authorization: Bearer " + token + "\n"
	requests := []string{
		"GET http://admin.example/orders HTTP/1.1\nHost: api.example\n" + authorization + closes + "\n",
		"GET http://admin.example/orders HTTP/1.1\nHost: admin.example\n" + authorization + closes + "\n",
		"GET http://api.example/orders HTTP/1.1\nHost: admin.example\n" + authorization + closes + "\n",
		"GET http://user@admin.example/orders HTTP/1.1\nHost: api.example\n" + authorization + closes + "\n",
		"GET http://ADMIN.example:80/orders HTTP/1.1\nHost: api.example\n" + authorization + closes + "\n",
		"GET /orders HTTP/1.1\nHost: api.example\nHost: admin.example\n" + authorization + closes + "\n",
		"GET /orders HTTP/1.1\nHost: admin.example\nHost: api.example\n" + authorization + closes + "\n",
		"GET /orders HTTP/1.1\n" + authorization + closes + "\n",
		"GET /orders HTTP/1.1\nHost:\n" + authorization + closes + "\n",
		"GET /orders HTTP/1.0\nHost: admin.example\n" + authorization + "\n",
		"GET /orders HTTP/1.0\n" + authorization + "\n",
		"GET http://admin.example/orders HTTP/1.0\n" + authorization + "\n",
	}
	for _, host := range []string{
		"admin.example", "ADMIN.example", "admin.example.", "Admin.Example:80", "admin.example.:80", "admin.example:", "admin.example:80:80", "admin.example..",
		" admin.example", "admin.example ", "admin.example\t", "user@admin.example", "admin.example/", "admin.example,api.example", "admin.example, api.example",
		"admin.example#", "admin.example?", "admin.example%00", "[admin.example]", "admin%2eexample", "admin.example\\", "xn--admin.example", "admin.example:0x50",
	} {
		requests = append(requests, get("/orders", host, token))
	}
	for _, name := range []string{"X-Forwarded-Host", "X-Original-Host", "X_Forwarded_Host", "X-Host", "Forwarded"} {
		requests = append(requests,
			get("/orders", "admin.example", token, name+": api.example"),
			get("/orders", "admin.example", token, name+": api.example", name+": api.example"),
			get("/orders", "admin.example", token, name+": api.example", "Connection: close, "+name, "Connection: x-forwarded-host, x-original-host, host"),
		)
	}
	for _, text := range requests {
		mark := r.app.mark()
		send(t, r.address, text)
		for _, s := range r.app.since(mark) {
			if host := strings.Trim(strings.ToLower(s.Host), " \t"); slices.Contains(hosts(host), "admin.example") {
				t.Errorf("%q arrived with host %q", text[:min(len(text), 60)], s.Host)
			}
		}
	}
	if a := send(t, r.address, get("/orders", "other.example:8080", token)); a.status != http.StatusOK {
		t.Errorf("another host: %s", a)
	}
}

// hosts are the readings of a Host field.
func hosts(field string) (all []string) {
	for _, h := range strings.FieldsFunc(field, func(r rune) bool { return strings.ContainsRune("/\\@#? \t", r) }) {
		name, _, _ := strings.Cut(h, ":")
		all = append(all, strings.TrimSuffix(name, "."))
	}
	return all
}
