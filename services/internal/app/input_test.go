package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/problem"
)

// canary stands where a credential would; no answer may repeat it.
const canary = "hunter2-canary"

// endpoint reads one JSON object: a request that would succeed, but for its body,
// which begins with a member and goes on with others.
type endpoint struct {
	request

	member, value, rest string
}

func (e endpoint) good() string { return fmt.Sprintf(`{"%s":"%s"%s}`, e.member, e.value, e.rest) }

func (p pair) jsonEndpoints(t *testing.T) []endpoint {
	t.Helper()
	mine, operator := p.a.login(t).Access, p.a.operatorToken(t)
	user := "/admin/v1/users/" + p.subject(t, tokens{Access: mine}) + "/password"
	return []endpoint{
		{request{method: "POST", url: p.b.public + "/v1/login"}, "username", alice, `,"password":"` + alicePassword + `","client_id":"mobile"`},
		{request{method: "PUT", url: p.b.public + "/v1/password", bearer: mine}, "current_password", alicePassword, `,"new_password":"not-to-be-set-7"`},
		{request{method: "POST", url: p.b.admin + "/admin/v1/revocations", bearer: operator}, "kind", "token", `,"id":"x"`},
		{request{method: "POST", url: p.b.admin + "/admin/v1/users", bearer: operator}, "username", "mallory", `,"password":"not-to-be-set-7"`},
		{request{method: "PUT", url: p.b.admin + user, bearer: operator}, "password", "not-to-be-set-7", ""},
	}
}

// Must-show 7: what a body may not be.
func (p pair) badBodiesAreRefused(t *testing.T) {
	endpoints := p.jsonEndpoints(t)
	before, sent := p.journal(t), uint64(0)
	for _, e := range endpoints {
		good := e.good()
		for name, c := range map[string]struct {
			body, contentType string
			status            int
		}{
			"no content type":       {good, "", 415},
			"a form":                {good, formType, 415},
			"text":                  {good, "text/plain", 415},
			"another charset":       {good, jsonType + "; charset=utf-16", 415},
			"two types":             {good, jsonType + ", " + jsonType, 415},
			"empty":                 {"", jsonType, 400},
			"a list":                {"[" + good + "]", jsonType, 400},
			"null":                  {"null", jsonType, 400},
			"cut off":               {good[:len(good)-1], jsonType, 400},
			"more behind":           {good + "{}", jsonType, 400},
			"member twice":          {fmt.Sprintf(`{"%s":"x",%s`, e.member, good[1:]), jsonType, 400},
			"member twice, escaped": {fmt.Sprintf(`{"\u%04x%s":"x",%s`, e.member[0], e.member[1:], good[1:]), jsonType, 400},
			"member in capitals":    {fmt.Sprintf(`{"%s":"x",%s`, strings.ToUpper(e.member), good[1:]), jsonType, 400},
			"unknown member":        {fmt.Sprintf(`{"%[1]s":"%[1]s",%[2]s`, canary, good[1:]), jsonType, 400},
			"a list for a text":     {fmt.Sprintf(`{"%s":["%s"]%s}`, e.member, e.value, e.rest), jsonType, 400},
			"a number for a text":   {fmt.Sprintf(`{"%s":%s%s}`, e.member, strings.Repeat("9", 400), e.rest), jsonType, 400},
			"an object for a text":  {fmt.Sprintf(`{"%s":{}%s}`, e.member, e.rest), jsonType, 400},
			"not UTF-8":             {fmt.Sprintf("{%q:\"\xff\"%s}", e.member, e.rest), jsonType, 400},
			"half a surrogate":      {fmt.Sprintf(`{"%s":"\ud800"%s}`, e.member, e.rest), jsonType, 400},
			"a zero byte":           {fmt.Sprintf("{%q:\"\x00\"%s}", e.member, e.rest), jsonType, 400},
			"oversize":              {`{"` + canary + `":"` + strings.Repeat("x", problem.MaxBody) + `"}`, jsonType, 413},
			"oversize space":        {good + strings.Repeat(" ", problem.MaxBody), jsonType, 413},
			"nested deep":           {strings.Repeat(`{"a":`, 10_000), jsonType, 400},
		} {
			r := e.request
			r.body, r.contentType = c.body, c.contentType
			where := name + " at " + e.method + " " + e.url
			got := must(t, r)
			isProblem(t, where, got, c.status)
			leakless(t, where, got, canary, alicePassword)
			if e.bearer != "" && strings.HasSuffix(e.url, "/v1/password") {
				sent++
			}
		}
	}
	// The check of a good access token costs a barrier each; all else costs nothing.
	if n := p.grown(t, before); n != sent {
		t.Errorf("bad bodies made the journal grow by %d, want %d", n, sent)
	}
	// They were good but for the one thing, and nothing of them took effect.
	login := endpoints[0]
	login.body, login.contentType = login.good(), jsonType
	must(t, login.request).want(t, 200)
}

func isProblem(t *testing.T, where string, got reply, status int) {
	t.Helper()
	h := got.header
	if got.status != status || h.Get("Content-Type") != problem.MediaType || h.Get("Cache-Control") != "no-store" ||
		h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(got.body, fmt.Sprintf(`"status":%d`, status)) {
		t.Errorf("%s: got %d %v %s, want %d", where, got.status, h, got.body, status)
	}
	if (status == http.StatusUnauthorized) != (h.Get("WWW-Authenticate") != "") {
		t.Errorf("%s: %d with challenge %q", where, status, h.Get("WWW-Authenticate"))
	}
}

func isOAuthError(t *testing.T, where string, got reply, status int, code oauth.Code) {
	t.Helper()
	h := got.header
	if got.status != status || h.Get("Content-Type") != jsonType || h.Get("Cache-Control") != "no-store" ||
		!strings.Contains(got.body, `"error":"`+string(code)+`"`) {
		t.Errorf("%s: got %d %v %s, want %d %s", where, got.status, h, got.body, status, code)
	}
	if (status == http.StatusUnauthorized) != (h.Get("WWW-Authenticate") != "") {
		t.Errorf("%s: %d with challenge %q", where, status, h.Get("WWW-Authenticate"))
	}
}

// The same for forms, and who may send them.
func (p pair) badFormsAreRefused(t *testing.T) {
	mine := p.a.login(t)
	good := form("grant_type", "refresh_token", "refresh_token", mine.Refresh, "client_id", mobile, "token", mine.Refresh)
	basic := func(id, secret string) http.Header {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(id, secret)
		return r.Header
	}
	before := p.journal(t)
	for _, path := range []string{"/oauth/token", "/oauth/revoke"} {
		for name, c := range map[string]struct {
			query, body, contentType string
			header                   http.Header
			status                   int
			code                     oauth.Code
		}{
			"no content type":          {body: good, status: 400, code: oauth.InvalidRequest},
			"JSON":                     {body: object("grant_type", "refresh_token"), contentType: jsonType, status: 400, code: oauth.InvalidRequest},
			"multipart":                {body: good, contentType: "multipart/form-data; boundary=x", status: 400, code: oauth.InvalidRequest},
			"a parameter twice":        {body: good + "&client_id=" + mobile, contentType: formType, status: 400, code: oauth.InvalidRequest},
			"a parameter twice, empty": {body: good + "&scope=&scope=", contentType: formType, status: 400, code: oauth.InvalidRequest},
			"escaped twice":            {body: good + "&%63lient_id=" + mobile, contentType: formType, status: 400, code: oauth.InvalidRequest},
			"in the query":             {query: "?" + good, contentType: formType, status: 400, code: oauth.InvalidRequest},
			"in query and body":        {query: "?client_id=" + mobile, body: good, contentType: formType, status: 400, code: oauth.InvalidRequest},
			"broken escape":            {body: good + "&x=%zz", contentType: formType, status: 400, code: oauth.InvalidRequest},
			"not UTF-8":                {body: good + "&x=%ff", contentType: formType, status: 400, code: oauth.InvalidRequest},
			"semicolons":               {body: strings.ReplaceAll(good, "&", ";"), contentType: formType, status: 400, code: oauth.InvalidRequest},
			"oversize":                 {body: good + "&x=" + strings.Repeat("x", oauth.MaxForm), contentType: formType, status: 413, code: oauth.InvalidRequest},
			"empty":                    {contentType: formType, status: 401, code: oauth.InvalidClient},
			"no client":                {body: form("grant_type", "refresh_token", "token", "x"), contentType: formType, status: 401, code: oauth.InvalidClient},
			"unknown client":           {body: form("grant_type", "refresh_token", "client_id", canary), contentType: formType, status: 401, code: oauth.InvalidClient},
			"secret of a public one":   {body: good + "&client_secret=" + canary, contentType: formType, status: 401, code: oauth.InvalidClient},
			"no secret":                {body: form("client_id", backend), contentType: formType, status: 401, code: oauth.InvalidClient},
			"wrong secret":             {body: form("client_id", backend, "client_secret", canary), contentType: formType, status: 401, code: oauth.InvalidClient},
			"wrong secret, basic":      {header: basic(backend, canary), contentType: formType, status: 401, code: oauth.InvalidClient},
			"bearer":                   {header: http.Header{"Authorization": {"Bearer " + mine.Access}}, body: good, contentType: formType, status: 401, code: oauth.InvalidClient},
			"two methods":              {header: basic(backend, backendSecret), body: form("client_id", backend, "client_secret", backendSecret), contentType: formType, status: 400, code: oauth.InvalidRequest},
			"two clients":              {header: basic(backend, backendSecret), body: good, contentType: formType, status: 400, code: oauth.InvalidRequest},
		} {
			got := must(t, request{method: "POST", url: p.b.public + path + c.query, contentType: c.contentType, body: c.body, header: c.header})
			isOAuthError(t, name+" at "+path, got, c.status, c.code)
			leakless(t, name+" at "+path, got, canary, backendSecret, mine.Refresh)
		}
	}
	if n := p.grown(t, before); n != 0 {
		t.Errorf("bad forms made the journal grow by %d", n)
	}
	p.b.refresh(t, mine.Refresh, mobile).want(t, 200)
}

// A refresh token that is none says nothing (INV-4), and costs the journal nothing:
// anybody can make such up.
func (p pair) badRefreshTokensAreRefused(t *testing.T) {
	mine := p.a.login(t)
	part := strings.Split(mine.Refresh, ".")
	// Another letter of the same alphabet: a token of the right form all the same.
	flipped := func(i int) string {
		b := []byte(mine.Refresh)
		if b[i]++; !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", rune(b[i])) {
			b[i] = 'A'
		}
		return string(b)
	}
	bad := []string{
		"x", "..", mine.Refresh + ".", mine.Refresh + "A", mine.Refresh + "=", " " + mine.Refresh, mine.Refresh + "\n",
		part[0] + "." + part[1], part[0] + "." + part[1] + ".", part[1] + "." + part[0] + "." + part[2],
		strings.Repeat("A", 4096), part[0] + "." + strings.ToUpper(part[1]+"."+part[2]),
		flipped(len(part[0]) + 5), flipped(len(part[0]) + 30), flipped(len(part[0]+part[1]) + 4),
	}
	for i, token := range bad {
		before := p.journal(t)
		isInvalidGrant(t, p.b.refresh(t, token, mobile))
		p.b.postForm(t, "/oauth/revoke", "token", token, "client_id", mobile).want(t, 200)
		if n := p.grown(t, before); n != 0 {
			t.Errorf("bad token %d makes the journal grow by %d", i, n)
		}
	}
	// A key this replica does not know may have been made a moment ago: not decided.
	got := p.b.refresh(t, flipped(1), mobile)
	isOAuthError(t, "unknown key", got, 503, oauth.TemporarilyUnavailable)
	isInvalidGrant(t, p.b.refresh(t, flipped(len(mine.Refresh)-3), mobile)) // the last of its two MACs
	got = p.b.postForm(t, "/oauth/token", "grant_type", "refresh_token", "client_id", mobile)
	isOAuthError(t, "no refresh token", got, 400, oauth.InvalidRequest)
	for _, grant := range []string{"password", "authorization_code", "client_credentials", "REFRESH_TOKEN", "urn:x"} {
		got := p.b.postForm(t, "/oauth/token", "grant_type", grant, "client_id", mobile, "refresh_token", mine.Refresh, "username", alice, "password", alicePassword)
		isOAuthError(t, grant, got, 400, oauth.UnsupportedGrantType)
	}
	got = p.b.postForm(t, "/oauth/token", "client_id", mobile, "refresh_token", mine.Refresh)
	isOAuthError(t, "no grant type", got, 400, oauth.InvalidRequest)
	got = p.b.postForm(t, "/oauth/token", "grant_type", "refresh_token", "client_id", "mute", "refresh_token", mine.Refresh)
	isOAuthError(t, "a client without the grant", got, 400, oauth.UnauthorizedClient)
	got = p.b.postForm(t, "/oauth/token", "grant_type", "refresh_token", "client_id", mobile, "refresh_token", mine.Refresh, "scope", "read admin")
	isOAuthError(t, "more scope", got, 400, oauth.InvalidScope)
	isInvalidGrant(t, p.b.refresh(t, mine.Refresh, tablet))
	p.b.refresh(t, mine.Refresh, mobile).want(t, 200)
}

// Every path takes the methods it was made for.
func (p pair) wrongMethodsAreRefused(t *testing.T) {
	token, operator := p.a.login(t).Access, p.a.operatorToken(t)
	for _, e := range []struct {
		base, path string
		takes      []string
	}{
		{p.b.public, "/v1/login", []string{"POST"}},
		{p.b.public, "/oauth/token", []string{"POST"}},
		{p.b.public, "/oauth/revoke", []string{"POST"}},
		{p.b.public, "/v1/session", []string{"GET", "HEAD", "DELETE"}},
		{p.b.public, "/v1/sessions", []string{"GET", "HEAD", "DELETE"}},
		{p.b.public, "/v1/sessions/x", []string{"DELETE"}},
		{p.b.public, "/v1/password", []string{"PUT"}},
		{p.b.public, "/.well-known/oauth-authorization-server", []string{"GET", "HEAD"}},
		{p.b.public, "/.well-known/openid-configuration", []string{"GET", "HEAD"}},
		{p.b.public, "/.well-known/jwks.json", []string{"GET", "HEAD"}},
		{p.b.public, "/healthz", []string{"GET", "HEAD"}},
		{p.b.public, "/readyz", []string{"GET", "HEAD"}},
		{p.b.admin, "/admin/v1/revocations", []string{"GET", "HEAD", "POST"}},
		{p.b.admin, "/admin/v1/revocations:batch", []string{"POST"}},
		{p.b.admin, "/admin/v1/revocations/x", []string{"DELETE"}},
		{p.b.admin, "/admin/v1/subjects/x/sessions", []string{"GET", "HEAD"}},
		{p.b.admin, "/admin/v1/users", []string{"GET", "HEAD", "POST"}},
		{p.b.admin, "/admin/v1/users/x", []string{"GET", "HEAD"}},
		{p.b.admin, "/admin/v1/users/x/password", []string{"PUT"}},
		{p.b.admin, "/admin/v1/users/x/roles", []string{"PUT"}},
		{p.b.admin, "/admin/v1/users/x/status", []string{"PUT"}},
		{p.b.admin, "/admin/v1/clients", []string{"GET", "HEAD"}},
		{p.b.admin, "/admin/v1/clients/x/status", []string{"PUT"}},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"} {
			if slices.Contains(e.takes, method) {
				continue
			}
			bearer := token
			if e.base == p.b.admin {
				bearer = operator
			}
			got := must(t, request{method: method, url: e.base + e.path, bearer: bearer})
			where := method + " " + e.path
			if method == "HEAD" {
				got.body = `"status":405` // which HEAD has none of
			}
			isProblem(t, where, got, http.StatusMethodNotAllowed)
			for _, allowed := range e.takes {
				if !strings.Contains(got.header.Get("Allow"), allowed) {
					t.Errorf("%s: allow %q does not name %s", where, got.header.Get("Allow"), allowed)
				}
			}
		}
	}
	p.b.call(t, "GET", "/v1/session", token).want(t, 200)
}
