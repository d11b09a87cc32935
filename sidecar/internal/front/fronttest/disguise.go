package fronttest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// Disguises holds the front that open puts before a checker to its rules: a request for
// what needs a token does not pass without one by looking like a request for what needs
// none.
func Disguises(t *testing.T, open func(t *testing.T, check *front.Checker) Door) {
	t.Helper()
	rig := verifytest.New(t, gate.DefaultPolicy())
	door := open(t, rig.Checker(t, route.Rule{Match: []string{"/public/", "public.example/", "OPTIONS api.example/"}, Anonymous: true}))
	get := func(target, host string, fields ...string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + strings.Join(append(fields, "\r\n"), "\r\n")
	}
	const api, public = "api.example", "public.example"
	for name, text := range map[string]string{
		"plainly":                   get("/secret", api),
		"another host behind":       get("/secret", public+","+api),
		"a name before the host":    get("/secret", public+"@"+api),
		"a name and a password":     get("/secret", public+":80@"+api),
		"a path in the host":        get("/secret", public+"/"),
		"a path before the host":    get("/secret", public+"/@"+api),
		"a query in the host":       get("/secret", public+"?."+api),
		"a fragment in the host":    get("/secret", public+"#."+api),
		"a backslash in the host":   get("/secret", public+`\.`+api),
		"a port that is none":       get("/secret", public+":x"),
		"NUL in the host":           get("/secret", public+"\x00."+api),
		"a host below":              get("/secret", "x."+public),
		"a host around":             get("/secret", public+"."+api),
		"two hosts":                 get("/secret", public, "Host: "+api),
		"two hosts, turned round":   get("/secret", api, "Host: "+public),
		"the line's host counts":    get("http://"+api+"/secret", public),
		"a name in the line":        get("http://"+public+"@"+api+"/secret", api),
		"a forwarded host":          get("/secret", api, "X-Forwarded-Host: "+public, "Forwarded: host="+public, "X-Host: "+public),
		"a forwarded path":          get("/secret", api, "X-Forwarded-Uri: /public/", "X-Original-Url: /public/", "X-Rewrite-Url: /public/", "X-Forwarded-Prefix: /public"),
		"another method":            get("/secret", api, "X-Http-Method-Override: OPTIONS", "X-Forwarded-Method: OPTIONS", "X-Original-Method: OPTIONS"),
		"up":                        get("/public/../secret", api),
		"up, encoded":               get("/public/%2e%2e/secret", api),
		"up, with a slash in it":    get("/public/..%2fsecret", api),
		"up, with a backslash":      get(`/public/..\secret`, api),
		"up, after a parameter":     get("/public/..;x/secret", api),
		"other case":                get("/Public/", api),
		"two slashes":               get("//public/", api),
		"a query that looks like":   get("/?/public/", api),
		"a fragment":                get("/secret#/public/", api),
		"no slash":                  get("public/", api),
		"everything":                "OPTIONS * HTTP/1.1\r\nHost: " + api + "\r\nConnection: close\r\n\r\n",
		"a tunnel":                  "CONNECT " + public + ":443 HTTP/1.1\r\nHost: " + public + "\r\n\r\n",
		"a method in another case":  strings.Replace(get("/secret", api), "GET", "options", 1),
		"a method and something":    strings.Replace(get("/secret", api), "GET", "OPTIONSX", 1),
		"no version and no headers": "GET /public/\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			method, _, _ := strings.Cut(text, " ")
			if got := SendText(t, door.Address, method, text); door.Reached(got) || got.Status < 400 || got.Status > 499 {
				t.Errorf("status %d, %v", got.Status, got.Header)
			}
		})
	}
	for name, text := range map[string]string{"path": get("/public/", api), "host": get("/secret", public), "port": get("/secret", public+":8080"), "the line's": get("http://"+public+"/secret", api)} {
		if got := SendText(t, door.Address, http.MethodGet, text); !door.Reached(got) || got.Status != http.StatusOK {
			t.Errorf("public by its %s: status %d, %v", name, got.Status, got.Header)
		}
	}
}
