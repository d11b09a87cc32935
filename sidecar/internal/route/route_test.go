package route_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
)

// scope makes a rule that can be told apart by what it demands.
func scope(name string, match ...string) route.Rule {
	return route.Rule{Match: match, Ask: gate.Ask{Scopes: []string{name}}}
}

func table(t testing.TB, rules ...route.Rule) *route.Table {
	t.Helper()
	table, err := route.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// rules of an API: nearly everything needs "read", little needs nothing.
func rules() []route.Rule {
	return []route.Rule{
		scope("read", "/"),
		{Match: []string{"/public/", "GET /health"}, Anonymous: true},
		scope("secret", "/public/secret"),
		scope("write", "POST /orders/", "PUT /orders/{id}", "DELETE /orders/{id}/"),
		scope("pay", "POST /orders/{id}/payment/{$}", "GET /orders/{id}/payment/{$}"),
		scope("admin", "admin.example/"),
		scope("files", "/files/{path...}"),
	}
}

func TestFind(t *testing.T) {
	all := table(t, rules()...)
	for _, c := range []struct{ method, host, target, want string }{
		{"GET", "api.example", "/", "read"},
		{"GET", "api.example", "/x?y=/public/", "read"},
		{"GET", "api.example", "/public/logo.png", "anonymous"},
		{"GET", "api.example", "/public/", "anonymous"},
		{"GET", "api.example", "/public", "anonymous"},
		{"GET", "api.example", "/publicity", "read"},
		{"GET", "api.example", "/PUBLIC/logo.png", "read"},
		{"GET", "api.example", "/%70ublic/logo.png", "anonymous"},
		{"GET", "api.example", "/public/secret", "secret"},
		{"GET", "api.example", "/public/secret/", "secret"},
		{"GET", "api.example", "/public/%73ecret", "secret"},
		{"GET", "api.example", "/public/secret?x", "secret"},
		{"GET", "api.example", "/health", "anonymous"},
		{"HEAD", "api.example", "/health", "anonymous"},
		{"POST", "api.example", "/health", "read"},
		{"GET", "api.example", "/health/", "anonymous"},
		{"GET", "api.example", "/health/x", "read"},
		{"POST", "api.example", "/orders", "write"},
		{"POST", "api.example", "/orders/", "write"},
		{"POST", "api.example", "/orders/5", "write"},
		{"GET", "api.example", "/orders/5", "read"},
		{"PUT", "api.example", "/orders/5", "write"},
		{"PUT", "api.example", "/orders/5/", "write"},
		{"DELETE", "api.example", "/orders/5", "write"},
		{"DELETE", "api.example", "/orders/5/lines/3", "write"},
		{"GET", "api.example", "/orders/5/payment", "pay"},
		{"GET", "api.example", "/orders/5/payment/", "pay"},
		{"GET", "api.example", "/orders/5/payment/x", "read"},
		{"GET", "admin.example", "/public/logo.png", "admin"},
		{"GET", "admin.example:8443", "/x", "admin"},
		{"GET", "ADMIN.example", "/x", "admin"},
		{"GET", "admin.example.", "/x", "admin"},
		{"GET", "admin.example.:443", "/x", "admin"},
		{"GET", "admin.example.evil", "/x", "read"},
		{"GET", "[::1]:80", "/x", "read"},
		{"GET", "api.example", "/files", "files"},
		{"GET", "api.example", "/files/a/b", "files"},
		{"PROPFIND", "api.example", "/x", "read"},
	} {
		rule, err := all.Find(c.method, c.host, c.target)
		got := "none"
		switch {
		case err != nil:
			got = err.Error()
		case rule != nil && rule.Anonymous:
			got = "anonymous"
		case rule != nil:
			got = strings.Join(rule.Ask.Scopes, " ")
		}
		if got != c.want {
			t.Errorf("%s %s%s: %s, want %s", c.method, c.host, c.target, got, c.want)
		}
	}
}

// What two servers may read as two resources is no resource here.
func TestAmbiguous(t *testing.T) {
	all := table(t, rules()...)
	for _, target := range []string{
		"", "*", "public", "http://api.example/public/", "//public/x", "/public//x", "/public/../orders", "/public/./x", "/public/..", "/.",
		"/public/%2e%2e/orders", "/public/%2E./orders", "/public/..%2forders", "/public%2Fx", "/public/%5c..", "/public/\\..\\orders", "/public/..;/orders",
		"/public;x/y", "/public%3bx", "/public/%00", "/public/%0d%0a", "/public/%7f", "/public/%c2%85", "/public/%c0%af", "/public/%c0%ae%c0%ae/", "/public/%ff",
		"/public/%252e%252e", "/public/%zz", "/public/%2", "/public/%", "/public/x#y", "/public/%23", "/public/%3f", "/public/ x", "/public/\tx", "/public/é",
	} {
		if rule, err := all.Find("GET", "api.example", target); !errors.Is(err, route.ErrAmbiguous) || rule != nil {
			t.Errorf("%q: %+v, %v", target, rule, err)
		}
	}
	for _, method := range []string{"", "get", "GE T", "GET\r\n", "CONNECT", "G=T"} {
		if rule, err := all.Find(method, "api.example", "/"); !errors.Is(err, route.ErrAmbiguous) || rule != nil {
			t.Errorf("method %q: %+v, %v", method, rule, err)
		}
	}
}

// Where a rule names a host, what two servers may read as two hosts is none, nor is no
// host; where none does, hosts do not matter.
func TestHosts(t *testing.T) {
	named := table(t, scope("x", "/x"), route.Rule{Match: []string{"public.example/", "[2001:db8::1]/"}, Anonymous: true})
	for _, host := range []string{
		"", ":80", ".", "public.example:x", "public.example:-1", "public.example:80@api.example", "public.example@api.example", "public.example,api.example",
		"public.example, api.example", "public.example api.example", "public.example/", "public.example?", "public.example#", `public.example\`, "public.example\x00",
		"public..example", ".public.example", "public.example..", "p\u00fcblic.example", "%70ublic.example", "[::1", "[public.example]", "[::1%25eth0]", "[127.0.0.1]", "::1", "[::1]:x",
	} {
		if rule, err := named.Find("GET", host, "/"); !errors.Is(err, route.ErrAmbiguous) || rule != nil {
			t.Errorf("%q: %+v, %v", host, rule, err)
		}
		if rule, err := table(t, scope("x", "/x")).Find("GET", host, "/x"); err != nil || rule == nil {
			t.Errorf("%q, where no rule names a host: %v", host, err)
		}
	}
	for host, public := range map[string]bool{
		"public.example": true, "PUBLIC.example": true, "public.example.": true, "public.example:": true, "public.example:8080": true, "public.example.:8080": true,
		"[2001:db8::1]": true, "[2001:DB8::1]:443": true, "[2001:0db8:0:0::1]": true, "api.example": false, "my_service:80": false, "127.0.0.1": false, "localhost": false,
	} {
		if rule, err := named.Find("GET", host, "/"); err != nil || (rule != nil) != public {
			t.Errorf("%q: %+v, %v", host, rule, err)
		}
	}
}

// A slash at the end makes no difference, unless rules say it does; then nobody can know
// which of them the application would go by.
func TestSlash(t *testing.T) {
	const ambiguous, none = "ambiguous", "none"
	anonymous := func(match ...string) route.Rule { return route.Rule{Match: match, Anonymous: true} }
	for name, c := range map[string]struct {
		rules []route.Rule
		want  map[string]string // by what is asked for
	}{
		"both": {
			[]route.Rule{anonymous("/orders"), scope("x", "/orders/")},
			map[string]string{"/orders": "", "/orders/": ambiguous, "/orders/?y=1": ambiguous, "/orders/5": "x", "/orders/5/": "x"},
		},
		"both, turned round": {
			[]route.Rule{scope("x", "/orders"), anonymous("/orders/")},
			map[string]string{"/orders": "x", "/orders/": ambiguous, "/orders/5": ""},
		},
		"a name": {
			[]route.Rule{anonymous("/static/{page}"), scope("x", "/static/{page}/")},
			map[string]string{"/static/a": "", "/static/a/": ambiguous, "/static/%61/": ambiguous, "/static/a/b": "x"},
		},
		"a name for one of them": {
			[]route.Rule{anonymous("/health"), scope("x", "/{tenant}/")},
			map[string]string{"/health": "", "/health/": ambiguous, "/health/x": "x", "/a": "x", "/a/": "x"},
		},
		"the rest": {
			[]route.Rule{anonymous("/files"), scope("x", "/files/{path...}")},
			map[string]string{"/files": "", "/files/": ambiguous, "/files/a/": "x"},
		},
		"a method": {
			[]route.Rule{anonymous("GET /orders"), scope("x", "/orders/")},
			map[string]string{"/orders": "", "/orders/": ambiguous, "POST /orders": "x", "POST /orders/": "x"},
		},
		"a host": {
			[]route.Rule{anonymous("api.example/{page}"), scope("x", "/orders/")},
			map[string]string{"/orders": "", "/orders/": ambiguous, "/other/": ""},
		},
		"both, and the same": {
			[]route.Rule{scope("x", "/orders"), scope("x", "/orders/"), anonymous("/a"), anonymous("/a/")},
			map[string]string{"/orders": "x", "/orders/": "x", "/orders/5": "x", "/a/": ""},
		},
		"the slash said": {
			[]route.Rule{anonymous("/orders/{$}"), scope("x", "/orders/")},
			map[string]string{"/orders": "", "/orders/": "", "/orders/5": "x", "/orders/5/": "x"},
		},
		"below alone": {
			[]route.Rule{anonymous("/orders"), scope("x", "/orders/{id}/")},
			map[string]string{"/orders": "", "/orders/": "", "/orders/5": "x", "/orders/5/": "x", "/orders/5/6": "x"},
		},
		"everything": {
			[]route.Rule{anonymous("/health"), scope("x", "/")},
			map[string]string{"/health": "", "/health/": "", "/": "x", "/a/": "x"},
		},
		"nothing": {[]route.Rule{anonymous("/health")}, map[string]string{"/": none, "/a/": none, "/health/": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			all := table(t, c.rules...)
			for asked, want := range c.want {
				method, target, ok := strings.Cut(asked, " ")
				if !ok {
					method, target = "GET", asked
				}
				rule, err := all.Find(method, "api.example", target)
				got := none
				switch {
				case errors.Is(err, route.ErrAmbiguous):
					got = ambiguous
				case rule != nil:
					got = strings.Join(rule.Ask.Scopes, " ")
				}
				if got != want || rule != nil && rule.Anonymous != (want == "") {
					t.Errorf("%s: %q, want %q", asked, got, want)
				}
			}
		})
	}
}

// Where there are no rules, nothing about a path matters.
func TestNoRules(t *testing.T) {
	for _, none := range []*route.Table{{}, table(t)} {
		if rule, err := none.Find("get", "", "/../%2f"); rule != nil || err != nil || !none.Empty() {
			t.Errorf("%+v, %v", rule, err)
		}
	}
	if rule, err := table(t, scope("a", "/a")).Find("GET", "x", "/b"); rule != nil || err != nil {
		t.Errorf("%+v, %v", rule, err)
	}
}

func TestNewRefuses(t *testing.T) {
	for want, list := range map[string][]route.Rule{
		"rule 1: match: needed":                                 {{Anonymous: true}},
		`rule 2: match "POST /a"`:                               {scope("x", "POST /a"), scope("y", "POST /a")},
		`rule 2: match "/a/{$}"`:                                {scope("x", "/a"), scope("y", "/a/{$}")},
		`rule 2: match "/{a}/{$}"`:                              {scope("x", "/a/"), scope("y", "/{a}/{$}")},
		`rule 1: match "[2001:DB8::1]/": want the host`:         {scope("x", "[2001:DB8::1]/")},
		`rule 1: match "[2001:db8:0::1]/": want the host`:       {scope("x", "[2001:db8:0::1]/")},
		`rule 2: match "/a/{x}"`:                                {scope("x", "/{x}/b"), scope("y", "/a/{x}")},
		`pattern "/a/{x}/b" conflicts with pattern "POST /a/":`: {scope("x", "POST /a/"), scope("y", "/a/{x}/b")},
		`match "/a/{x}/"`:                                       {scope("x", "/{x}/b"), scope("y", "/a/{x}/")},
		`rule 1: match "/a/../b": the request's path`:           {scope("x", "/a/../b")},
		`rule 1: match "/a;b": the request's path`:              {scope("x", "/a;b")},
		`rule 1: match "API.example/": want the host`:           {scope("x", "API.example/")},
		`rule 1: match "a.example:80/": want`:                   {scope("x", "a.example:80/")},
		`rule 1: match "a@b.example/": want`:                    {scope("x", "a@b.example/")},
		`rule 1: match "/{"`:                                    {scope("x", "/{")},
		`rule 1: match "": `:                                    {scope("x", "")},
		`rule 1: match "GET": `:                                 {scope("x", "GET")},
		`rule 1: scope "a b"`:                                   {scope("a b", "/")},
		"rule 1: anonymous: ":                                   {{Match: []string{"/"}, Anonymous: true, Ask: gate.Ask{MaxStale: time.Second}}},
	} {
		if table, err := route.New(list); err == nil || table != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	_, err := route.New([]route.Rule{scope("a b", "/"), {}})
	if err == nil || !strings.Contains(err.Error(), "rule 1") || !strings.Contains(err.Error(), "rule 2") {
		t.Errorf("two faults: %v", err)
	}
}

// Nothing that ends up at a secret resource, however a server reads it, needs no
// token: not by any path, nor with anything around it.
func FuzzFind(f *testing.F) {
	all := table(f, route.Rule{Match: []string{"/", "/public/"}, Anonymous: true}, scope("secret", "/public/secret/", "/secret"))
	for _, s := range []string{"/", "/public/secret", "/public/x/../secret", "/public/%2e%2e/secret", "//secret", "/secret;x", "/secret/", "/x/..%2fsecret", "/s%65cret"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		rule, err := all.Find("GET", "api.example", target)
		if err != nil || rule == nil || !rule.Anonymous {
			return
		}
		for _, read := range readings(target) {
			if read == "/secret" || read == "/public/secret" || strings.HasPrefix(read, "/public/secret/") {
				t.Errorf("%q needs no token and may be read as %q", target, read)
			}
		}
	})
}
