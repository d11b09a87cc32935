package adminapi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/services/internal/problem"
)

const own = events.Issuer("https://id.example")

// request is as a mux hands it on.
func request(t *testing.T, pattern, path, body string) (*http.Request, events.Note) {
	t.Helper()
	var got *http.Request
	var n events.Note
	mux := http.NewServeMux()
	mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) { got, n = r, about(r, own) })
	method, _, _ := strings.Cut(pattern, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	mux.ServeHTTP(httptest.NewRecorder(), r)
	if got == nil {
		t.Fatalf("%s does not match %s", path, pattern)
	}
	return got, n
}

const (
	jwt     = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
	revoke  = "POST /admin/v1/revocations"
	records = "GET /admin/v1/audit"
)

func TestWhatANoteIsAbout(t *testing.T) {
	for name, c := range map[string]struct {
		pattern, path, body string
		want                events.Note
	}{
		"a subject's sessions": {"GET /admin/v1/subjects/{sub}/sessions", "/admin/v1/subjects/a%2Fb%20c/sessions", "", events.Note{Issuer: own, Subject: "a/b c"}},
		"a user's password":    {"PUT /admin/v1/users/{sub}/password", "/admin/v1/users/alice/password", `{"password":"hunter-2-hunter"}`, events.Note{Issuer: own, Subject: "alice"}},
		"a new user": {
			"POST /admin/v1/users", "/admin/v1/users", `{"username":"eve","password":"hunter-2-hunter","roles":["a","b"]}`,
			events.Note{Issuer: own, Detail: `username "eve", roles "a,b"`},
		},
		"a client": {
			"PUT /admin/v1/clients/{id}/status", "/admin/v1/clients/app/status", `{"status":"disabled","reason":"leaked build"}`,
			events.Note{Issuer: own, Client: "app", Detail: `reason "leaked build", status "disabled"`},
		},
		"revoking a subject": {
			revoke, "/admin/v1/revocations", `{"kind":"subject","id":"alice","scope":"access-tokens","except_session":"s-1","reason":"x","dry_run":true}`,
			events.Note{Issuer: own, Subject: "alice", Detail: `kind "subject", scope "access-tokens", except_session "s-1", reason "x", dry_run "true"`},
		},
		"revoking a session":            {revoke, "/admin/v1/revocations", `{"kind":"session","id":"s-1"}`, events.Note{Issuer: own, Session: "s-1", Detail: `kind "session"`}},
		"revoking a client":             {revoke, "/admin/v1/revocations", `{"kind":"client","id":"app"}`, events.Note{Issuer: own, Client: "app", Detail: `kind "client"`}},
		"revoking a key":                {revoke, "/admin/v1/revocations", `{"kind":"key","id":"k-1"}`, events.Note{Issuer: own, Detail: `kind "key", id "k-1"`}},
		"of another issuer":             {revoke, "/admin/v1/revocations", `{"kind":"subject","id":"alice","issuer":"https://other.example"}`, events.Note{Issuer: "https://other.example", Subject: "alice", Detail: `kind "subject"`}},
		"a token for an id":             {revoke, "/admin/v1/revocations", `{"kind":"token","id":"` + jwt + `"}`, events.Note{Issuer: own, Detail: `kind "token", id withheld`}},
		"a token for a subject":         {revoke, "/admin/v1/revocations", `{"kind":"subject","id":"` + jwt + `"}`, events.Note{Issuer: own, Detail: `kind "subject"`}},
		"an operator's for a reason":    {revoke, "/admin/v1/revocations", `{"kind":"all","reason":"rvo_AAAA"}`, events.Note{Issuer: own, Detail: `kind "all", reason withheld`}},
		"control characters":            {revoke, "/admin/v1/revocations", `{"kind":"subject","id":"a\nb","reason":"c\u0000\u009b"}`, events.Note{Issuer: own, Detail: `kind "subject", reason "c\x00\u009b"`}},
		"a member twice":                {revoke, "/admin/v1/revocations", `{"kind":"subject","kind":"all"}`, events.Note{Issuer: own}},
		"members of other types":        {revoke, "/admin/v1/revocations", `{"kind":7,"id":"alice"}`, events.Note{Issuer: own}},
		"another case":                  {revoke, "/admin/v1/revocations", `{"KIND":"subject","ID":"alice"}`, events.Note{Issuer: own}},
		"no JSON":                       {revoke, "/admin/v1/revocations", `kind=subject`, events.Note{Issuer: own}},
		"an unknown member is its own":  {revoke, "/admin/v1/revocations", `{"kind":"all","token":"hunter-2-hunter"}`, events.Note{Issuer: own, Detail: `kind "all"`}},
		"history":                       {records, "/admin/v1/audit?subject=alice&from=2026-11-01T10:00:00Z&sid=s-1&client_id=app", "", events.Note{Issuer: own, Subject: "alice", Session: "s-1", Client: "app", Detail: `from "2026-11-01T10:00:00Z"`}},
		"a verdict":                     {records, "/admin/v1/audit?at=2026-11-01T10:00:00Z&sub=alice&iss=https://other.example&jti=j-1&kid=k-1", "", events.Note{Issuer: "https://other.example", Subject: "alice", Detail: `id "j-1", at "2026-11-01T10:00:00Z", kid "k-1"`}},
		"a token in a query":            {records, "/admin/v1/audit?subject=" + jwt, "", events.Note{Issuer: own}},
		"an operator":                   {"DELETE /admin/v1/operators/{name}", "/admin/v1/operators/vera", "", events.Note{Issuer: own, Detail: `name "vera"`}},
		"a new operator":                {"POST /admin/v1/operators", "/admin/v1/operators", `{"name":"vera","role":"viewer","expires_in":"720h"}`, events.Note{Issuer: own, Detail: `name "vera", role "viewer", expires_in "720h"`}},
		"a revocation":                  {"DELETE /admin/v1/revocations/{id}", "/admin/v1/revocations/r-1", "", events.Note{Issuer: own, Detail: `id "r-1"`}},
		"what is too long to be spoken": {revoke, "/admin/v1/revocations", `{"kind":"all","reason":"` + strings.Repeat("x", 200) + `"}`, events.Note{Issuer: own, Detail: `kind "all", reason "` + strings.Repeat("x", maxValue) + `"…`}},
	} {
		r, n := request(t, c.pattern, c.path, c.body)
		if n != c.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, n, c.want)
		}
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != c.body {
			t.Errorf("%s: the endpoint would read %q, %v", name, body, err)
		}
		if strings.Contains(fmt.Sprint(n), "hunter") || strings.Contains(fmt.Sprint(n), "c2lnbmF0dXJl") {
			t.Errorf("%s: a credential is noted: %+v", name, n)
		}
		n.Action, n.By = "operator."+events.Action(c.pattern), events.Initiator{Role: "operator", Name: "vera"}
		if _, err := codec.Encode(events.Envelope{ID: "01890a5d-ac96-774b-bcce-b302099a8058", Event: events.Noted{Note: n}}); err != nil {
			t.Errorf("%s: cannot be noted: %v", name, err)
		}
	}
}

// However large and odd a request is, it can be noted, and the endpoint reads all of it.
func TestLargeBodiesStayWhole(t *testing.T) {
	for _, size := range []int{problem.MaxBody - 100, problem.MaxBody, problem.MaxBody + 1, 3 * problem.MaxBody} {
		body := `{"roles":["` + strings.Repeat("ü", size/2) + `"]}`
		r, n := request(t, "PUT /admin/v1/users/{sub}/roles", "/admin/v1/users/"+strings.Repeat("x", 600)+"/roles", body)
		if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, []byte(body)) {
			t.Errorf("%d bytes: the endpoint would read %d, %v", len(body), len(got), err)
		}
		if len(n.Detail) > maxDetail || n.Subject != "" {
			t.Errorf("%d bytes of detail, subject %q", len(n.Detail), n.Subject)
		}
	}
}
