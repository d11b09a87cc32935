package problem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/problem"
)

func TestWrite(t *testing.T) {
	for name, c := range map[string]struct {
		err        error
		status     int
		body       string
		retryAfter string
		challenge  string
	}{
		"a problem": {
			err:    problem.New(http.StatusForbidden, "No."),
			status: 403, body: `{"title":"Forbidden","status":403,"detail":"No."}`,
		},
		"with a challenge": {
			err:    &problem.Error{Status: http.StatusUnauthorized, Challenge: `Bearer realm="x"`},
			status: 401, body: `{"title":"Unauthorized","status":401}`, challenge: `Bearer realm="x"`,
		},
		"wrapped": {
			err:    fmt.Errorf("listing sessions of u-7: %w", problem.New(http.StatusNotFound, "")),
			status: 404, body: `{"title":"Not Found","status":404}`,
		},
		"with type, title and a time": {
			err:    &problem.Error{Type: "urn:revocast:problem:busy", Title: "Busy", Status: 503, RetryAfter: 1200 * time.Millisecond},
			status: 503, body: `{"type":"urn:revocast:problem:busy","title":"Busy","status":503}`, retryAfter: "2",
		},
		"anything else":         {err: errors.New("dial tcp 10.1.2.3: refused"), status: 500, body: `{"title":"Internal Server Error","status":500}`},
		"nothing":               {err: nil, status: 500, body: `{"title":"Internal Server Error","status":500}`},
		"a nil problem":         {err: (*problem.Error)(nil), status: 500, body: `{"title":"Internal Server Error","status":500}`},
		"the zero problem":      {err: &problem.Error{Detail: "x"}, status: 500, body: `{"title":"Internal Server Error","status":500}`},
		"a success":             {err: problem.New(http.StatusOK, "x"), status: 500, body: `{"title":"Internal Server Error","status":500}`},
		"no status of HTTP's":   {err: problem.New(1000, "x"), status: 500, body: `{"title":"Internal Server Error","status":500}`},
		"a status with no name": {err: problem.New(499, ""), status: 499, body: `{"title":"Error 499","status":499}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set("X-Own", "kept")
			problem.Write(w, c.err)
			if w.Code != c.status || strings.TrimSpace(w.Body.String()) != c.body {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, c.status, c.body)
			}
			if w.Header().Get("Content-Type") != problem.MediaType || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", w.Header())
			}
			if w.Header().Get("Retry-After") != c.retryAfter || w.Header().Get("WWW-Authenticate") != c.challenge || w.Header().Get("X-Own") != "kept" {
				t.Errorf("headers %v", w.Header())
			}
			if !json.Valid(w.Body.Bytes()) {
				t.Error("body is not JSON")
			}
		})
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2", time.Hour: "3600", 0: "1", -time.Hour: "1",
	} {
		if got := problem.Seconds(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

type login struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	Scope    []string `json:"scope"`
	Nested   struct {
		N int `json:"n"`
	} `json:"nested"`
}

func post(t *testing.T, body, contentType string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/login", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestReadJSON(t *testing.T) {
	for _, contentType := range []string{"application/json", "Application/JSON", "application/json; charset=utf-8", `application/json;charset="UTF-8"`} {
		got, err := problem.ReadJSON[login](httptest.NewRecorder(), post(t, ` {"username":"alice","scope":["a"],"nested":{"n":3}} `, contentType))
		if err != nil || got.Username != "alice" || len(got.Scope) != 1 || got.Nested.N != 3 {
			t.Errorf("%s: %+v, %v", contentType, got, err)
		}
	}
}

func TestReadJSONRefuses(t *testing.T) {
	const canary = "hunter2-canary"
	for name, c := range map[string]struct {
		body, contentType string
		status            int
	}{
		"no content type":           {`{}`, "", 415},
		"a form":                    {`{}`, "application/x-www-form-urlencoded", 415},
		"text":                      {`{}`, "text/plain", 415},
		"something more":            {`{}`, "application/json; profile=x", 415},
		"another charset":           {`{}`, "application/json; charset=iso-8859-1", 415},
		"a list of types":           {`{}`, "application/json, text/plain", 415},
		"a suffix":                  {`{}`, "application/problem+json", 415},
		"nothing":                   {``, "application/json", 400},
		"spaces":                    {`   `, "application/json", 400},
		"null":                      {`null`, "application/json", 400},
		"a list":                    {`[{}]`, "application/json", 400},
		"a string":                  {`"` + canary + `"`, "application/json", 400},
		"unfinished":                {`{"username":"` + canary, "application/json", 400},
		"two values":                {`{}{}`, "application/json", 400},
		"text behind":               {`{} x`, "application/json", 400},
		"unknown member":            {`{"username":"a","` + canary + `":1}`, "application/json", 400},
		"unknown nested member":     {`{"nested":{"m":1}}`, "application/json", 400},
		"member in another case":    {`{"Password":"` + canary + `"}`, "application/json", 400},
		"member twice":              {`{"username":"a","username":"` + canary + `"}`, "application/json", 400},
		"member twice, escaped":     {`{"username":"a","\u0075sername":"` + canary + `"}`, "application/json", 400},
		"nested member twice":       {`{"nested":{"n":1,"n":2}}`, "application/json", 400},
		"wrong type":                {`{"username":["` + canary + `"]}`, "application/json", 400},
		"number too large":          {`{"nested":{"n":1e99}}`, "application/json", 400},
		"not UTF-8":                 {"{\"username\":\"\xff\"}", "application/json", 400},
		"half a surrogate":          {`{"username":"\ud800"}`, "application/json", 400},
		"a byte order mark":         {"\ufeff{}", "application/json", 400},
		"comments":                  {`{} // x`, "application/json", 400},
		"comma behind":              {`{"username":"a",}`, "application/json", 400},
		"deep nesting":              {strings.Repeat(`{"nested":`, 6000), "application/json", 400},
		"one byte more than fits":   {`{"username":"` + strings.Repeat("x", problem.MaxBody-len(`{"username":""}`)+1) + `"}`, "application/json", 413},
		"more than fits, then junk": {strings.Repeat("x", 1<<20), "application/json", 413},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := problem.ReadJSON[login](httptest.NewRecorder(), post(t, c.body, c.contentType))
			p, ok := errors.AsType[*problem.Error](err)
			if !ok || p.Status != c.status {
				t.Fatalf("got %v, want status %d", err, c.status)
			}
			if got.Username != "" || got.Password != "" {
				t.Error("a refused body left something behind")
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("%q repeats the body", err)
			}
		})
	}
}

func TestReadJSONTakesAllThatFits(t *testing.T) {
	name := strings.Repeat("x", problem.MaxBody-len(`{"username":""}`))
	got, err := problem.ReadJSON[login](httptest.NewRecorder(), post(t, `{"username":"`+name+`"}`, "application/json"))
	if err != nil || got.Username != name {
		t.Errorf("%d bytes, %v", len(got.Username), err)
	}
}

func TestReadJSONSeveralContentTypes(t *testing.T) {
	r := post(t, `{}`, "application/json")
	r.Header.Add("Content-Type", "application/json")
	_, err := problem.ReadJSON[login](httptest.NewRecorder(), r)
	if p, ok := errors.AsType[*problem.Error](err); !ok || p.Status != 415 {
		t.Errorf("got %v", err)
	}
}

func TestReadJSONBrokenBody(t *testing.T) {
	r := post(t, "", "application/json")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"user`), broken{}))
	_, err := problem.ReadJSON[login](httptest.NewRecorder(), r)
	if p, ok := errors.AsType[*problem.Error](err); !ok || p.Status != 400 || strings.Contains(err.Error(), "10.1.2.3") {
		t.Errorf("got %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("read tcp 10.1.2.3: reset") }

func FuzzReadJSON(f *testing.F) {
	f.Add(`{"username":"alice","password":"x"}`)
	f.Add(`{"nested":{"n":1,"n":2}}`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := problem.ReadJSON[login](httptest.NewRecorder(), post(t, body, "application/json"))
		if err != nil {
			if p, ok := errors.AsType[*problem.Error](err); !ok || p.Status < 400 || p.Status > 499 {
				t.Fatalf("not a client's fault: %v", err)
			}
			return
		}
		// Whatever is accepted, a lenient reader understands in the same way.
		var lenient login
		if err := json.Unmarshal([]byte(body), &lenient); err != nil {
			t.Fatalf("only the strict reader takes it: %v", err)
		}
		if got.Username != lenient.Username || got.Password != lenient.Password || got.Nested != lenient.Nested {
			t.Fatalf("read %+v, a lenient reader %+v", got, lenient)
		}
	})
}
