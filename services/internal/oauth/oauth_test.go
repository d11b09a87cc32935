package oauth_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/problem"
)

const formType = "application/x-www-form-urlencoded"

func post(t *testing.T, body, contentType string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/oauth/token", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestReadForm(t *testing.T) {
	for _, contentType := range []string{formType, "Application/X-WWW-Form-Urlencoded", formType + "; charset=UTF-8"} {
		f, err := oauth.ReadForm(httptest.NewRecorder(), post(t, "grant_type=refresh_token&scope=a+b%20c&empty=", contentType))
		if err != nil {
			t.Fatalf("%s: %v", contentType, err)
		}
		if f.Get("grant_type") != "refresh_token" || f.Get("scope") != "a b c" || f.Get("empty") != "" || f.Get("absent") != "" {
			t.Errorf("%s: read something else", contentType)
		}
	}
	var zero oauth.Form
	if zero.Get("x") != "" {
		t.Error("the zero Form is not empty")
	}
}

func TestReadFormRefuses(t *testing.T) {
	const canary = "hunter2-canary"
	for name, c := range map[string]struct {
		target, body, contentType string
		status                    int
	}{
		"no content type":       {"/", "a=b", "", 400},
		"JSON":                  {"/", `{"a":"b"}`, "application/json", 400},
		"multipart":             {"/", "a=b", "multipart/form-data; boundary=x", 400},
		"another charset":       {"/", "a=b", formType + "; charset=utf-16", 400},
		"another parameter":     {"/", "a=b", formType + "; x=y", 400},
		"a list of types":       {"/", "a=b", formType + ", text/plain", 400},
		"a repeated parameter":  {"/", "a=" + canary + "&b=1&a=" + canary, formType, 400},
		"repeated, escaped":     {"/", "a=1&%61=2", formType, 400},
		"repeated, empty":       {"/", "a=1&a=", formType, 400},
		"repeated, no equals":   {"/", "a&a", formType, 400},
		"semicolon":             {"/", "a=1;b=" + canary, formType, 400},
		"broken escape":         {"/", "a=%zz" + canary, formType, 400},
		"escape cut off":        {"/", "a=" + canary + "%2", formType, 400},
		"value not UTF-8":       {"/", "a=%ff", formType, 400},
		"name not UTF-8":        {"/", "%ff=a", formType, 400},
		"query":                 {"/?refresh_token=" + canary, "a=b", formType, 400},
		"empty query":           {"/?", "a=b", formType, 400},
		"one byte more":         {"/", "a=" + strings.Repeat("x", oauth.MaxForm-1), formType, 413},
		"much more":             {"/", strings.Repeat("a&", 1<<20), formType, 413},
		"very many parameters ": {"/", strings.Repeat("a&", oauth.MaxForm/2), formType, 400},
	} {
		t.Run(name, func(t *testing.T) {
			r := post(t, c.body, c.contentType)
			u, err := url.Parse(c.target)
			if err != nil {
				t.Fatal(err)
			}
			r.URL = u
			f, err := oauth.ReadForm(httptest.NewRecorder(), r)
			e, ok := errors.AsType[*oauth.Error](err)
			if !ok || e.Code != oauth.InvalidRequest {
				t.Fatalf("got %v", err)
			}
			w := httptest.NewRecorder()
			oauth.WriteError(w, err)
			if w.Code != c.status || strings.Contains(w.Body.String(), canary) || f.Get("a") != "" {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
}

func TestReadFormTakesAllThatFits(t *testing.T) {
	value := strings.Repeat("x", oauth.MaxForm-2)
	f, err := oauth.ReadForm(httptest.NewRecorder(), post(t, "a="+value, formType))
	if err != nil || f.Get("a") != value {
		t.Errorf("%d bytes, %v", len(f.Get("a")), err)
	}
}

func TestReadFormBrokenBody(t *testing.T) {
	r := post(t, "", formType)
	r.Body = io.NopCloser(broken{})
	_, err := oauth.ReadForm(httptest.NewRecorder(), r)
	if e, ok := errors.AsType[*oauth.Error](err); !ok || e.Code != oauth.InvalidRequest || strings.Contains(err.Error(), "10.1.2.3") {
		t.Errorf("got %v", err)
	}
	r = post(t, "a=b", formType)
	r.Header.Add("Content-Type", formType)
	if _, err := oauth.ReadForm(httptest.NewRecorder(), r); err == nil {
		t.Error("two content types were accepted")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("read tcp 10.1.2.3: reset") }

func FuzzReadForm(f *testing.F) {
	f.Add("grant_type=refresh_token&refresh_token=x")
	f.Add("a=1&%61=2")
	f.Fuzz(func(t *testing.T, body string) {
		form, err := oauth.ReadForm(httptest.NewRecorder(), post(t, body, formType))
		if err != nil {
			if e, ok := errors.AsType[*oauth.Error](err); !ok || e.Code != oauth.InvalidRequest {
				t.Fatalf("got %v", err)
			}
			return
		}
		values, err := url.ParseQuery(body)
		if err != nil {
			t.Fatal("only ReadForm takes it")
		}
		for name, v := range values {
			if len(v) != 1 || form.Get(name) != v[0] {
				t.Fatalf("%q reads %q and %q", name, form.Get(name), v)
			}
		}
	})
}

func TestWriteError(t *testing.T) {
	const basic = `Basic realm="revocast", charset="UTF-8"`
	for name, c := range map[string]struct {
		err                         error
		status                      int
		body, challenge, retryAfter string
	}{
		"invalid grant":       {oauth.Refuse(oauth.InvalidGrant, "Ended."), 400, `{"error":"invalid_grant","error_description":"Ended."}`, "", ""},
		"invalid client":      {oauth.Refuse(oauth.InvalidClient, ""), 401, `{"error":"invalid_client"}`, basic, ""},
		"wrapped":             {fmt.Errorf("refreshing 7: %w", oauth.Refuse(oauth.InvalidScope, "")), 400, `{"error":"invalid_scope"}`, "", ""},
		"unauthorized client": {oauth.Refuse(oauth.UnauthorizedClient, ""), 400, `{"error":"unauthorized_client"}`, "", ""},
		"unavailable": {
			oauth.Unavailable(1500 * time.Millisecond), 503,
			`{"error":"temporarily_unavailable","error_description":"Not decided; try again."}`, "", "2",
		},
		"unavailable, no time": {oauth.Unavailable(0), 503, `{"error":"temporarily_unavailable","error_description":"Not decided; try again."}`, "", "1"},
		"own status":           {&oauth.Error{Code: oauth.InvalidRequest, Status: 413}, 413, `{"error":"invalid_request"}`, "", ""},
		"status of no error":   {&oauth.Error{Code: oauth.InvalidRequest, Status: 200}, 400, `{"error":"invalid_request"}`, "", ""},
		"forbidden characters": {
			oauth.Refuse(oauth.InvalidRequest, "a\"b\\c\r\nSet-Cookie: x\x7fé"), 400,
			`{"error":"invalid_request","error_description":"abcSet-Cookie: x"}`, "", "",
		},
		"anything else": {errors.New("dial tcp 10.1.2.3: refused"), 500, `{"error":"server_error"}`, "", ""},
		"nothing":       {nil, 500, `{"error":"server_error"}`, "", ""},
		"nil":           {(*oauth.Error)(nil), 500, `{"error":"server_error"}`, "", ""},
		"zero":          {&oauth.Error{Description: "x"}, 500, `{"error":"server_error"}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			oauth.WriteError(w, c.err)
			if w.Code != c.status || strings.TrimSpace(w.Body.String()) != c.body {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, c.status, c.body)
			}
			h := w.Header()
			if h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" ||
				h.Get("WWW-Authenticate") != c.challenge || h.Get("Retry-After") != c.retryAfter {
				t.Errorf("headers %v", h)
			}
		})
	}
}

func tokens() oauth.Tokens {
	return oauth.Tokens{
		Access: "access-canary", Type: "Bearer", ExpiresIn: 5*time.Minute - 1, Refresh: "refresh-canary",
		Scope: "read", SessionID: "019339e0-4a3c-7c1a-8d2b-0a1b2c3d4e5f",
	}
}

func TestWriteTokens(t *testing.T) {
	w := httptest.NewRecorder()
	oauth.WriteTokens(w, tokens())
	const want = `{"access_token":"access-canary","token_type":"Bearer","expires_in":299,"refresh_token":"refresh-canary",` +
		`"scope":"read","session_id":"019339e0-4a3c-7c1a-8d2b-0a1b2c3d4e5f"}`
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", w.Header())
	}
	w = httptest.NewRecorder()
	oauth.WriteTokens(w, oauth.Tokens{Access: "a", Type: "Bearer", ExpiresIn: time.Second})
	if strings.TrimSpace(w.Body.String()) != `{"access_token":"a","token_type":"Bearer","expires_in":1}` {
		t.Errorf("got %s", w.Body)
	}
}

func TestCredentialsDoNotPrint(t *testing.T) {
	form, err := oauth.ReadForm(httptest.NewRecorder(), post(t, "refresh_token=refresh-canary", formType))
	if err != nil {
		t.Fatal(err)
	}
	tok := tokens()
	var out bytes.Buffer
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zap.DebugLevel))
	for _, v := range []any{tok, &tok, form, &form, []any{tok, form}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			_, _ = fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		log.Info("x", zap.Any("a", v), zap.Reflect("b", v))
	}
	for _, canary := range []string{"canary", fmt.Sprintf("%x", "canary"), fmt.Sprintf("%X", "canary")} {
		if strings.Contains(out.String(), canary) {
			t.Errorf("%s shows", canary)
		}
	}
	if !strings.Contains(out.String(), "[tokens]") || !strings.Contains(out.String(), "[form]") {
		t.Error("nothing was printed")
	}
}

func TestBearer(t *testing.T) {
	for name, header := range map[string]string{
		"plain": "Bearer abc.DEF-_~+/1=", "any case": "bEARER abc.DEF-_~+/1=",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/session", http.NoBody)
		r.Header.Set("Authorization", header)
		if got, err := oauth.Bearer(r); err != nil || got != "abc.DEF-_~+/1=" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestBearerRefuses(t *testing.T) {
	const (
		none      = `Bearer realm="revocast"`
		malformed = `Bearer realm="revocast", error="invalid_token", error_description="The access token is malformed."`
		two       = `Bearer realm="revocast", error="invalid_request", error_description="Send one access token, in the Authorization header."`
	)
	for name, c := range map[string]struct {
		target    string
		headers   []string
		status    int
		challenge string
	}{
		"nothing":                {"/", nil, 401, none},
		"only in the query":      {"/?access_token=abc", nil, 401, none},
		"another scheme":         {"/", []string{"Basic YTpi"}, 401, none},
		"DPoP":                   {"/", []string{"DPoP abc"}, 401, none},
		"scheme runs on":         {"/", []string{"Bearerabc"}, 401, none},
		"empty header":           {"/", []string{""}, 401, none},
		"scheme alone":           {"/", []string{"Bearer"}, 401, malformed},
		"no token":               {"/", []string{"Bearer "}, 401, malformed},
		"padding alone":          {"/", []string{"Bearer ="}, 401, malformed},
		"two spaces":             {"/", []string{"Bearer  abc"}, 401, malformed},
		"two tokens":             {"/", []string{"Bearer abc def"}, 401, malformed},
		"two, by comma":          {"/", []string{"Bearer abc, Bearer def"}, 401, malformed},
		"padding inside":         {"/", []string{"Bearer ab=c"}, 401, malformed},
		"quoted":                 {"/", []string{`Bearer "abc"`}, 401, malformed},
		"not ASCII":              {"/", []string{"Bearer ab\u00e9"}, 401, malformed},
		"a tab":                  {"/", []string{"Bearer abc\t"}, 401, malformed},
		"oversize":               {"/", []string{"Bearer " + strings.Repeat("a", oauth.MaxBearer+1)}, 401, malformed},
		"twice":                  {"/", []string{"Bearer abc", "Bearer abc"}, 400, two},
		"header and query":       {"/?access_token=abc", []string{"Bearer abc"}, 400, two},
		"header and empty query": {"/?access_token", []string{"Bearer abc"}, 400, two},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.target, http.NoBody)
			if c.headers != nil {
				r.Header["Authorization"] = c.headers
			}
			token, err := oauth.Bearer(r)
			w := httptest.NewRecorder()
			problem.Write(w, err)
			if token != "" || err == nil || w.Code != c.status || w.Header().Get("WWW-Authenticate") != c.challenge {
				t.Errorf("%q, %d %q, want %d %q", token, w.Code, w.Header().Get("WWW-Authenticate"), c.status, c.challenge)
			}
		})
	}
}

func TestChallengeCannotBeBrokenOutOf(t *testing.T) {
	p := oauth.Challenge(http.StatusUnauthorized, oauth.InvalidToken, "x\"\r\nSet-Cookie: a=b")
	if strings.ContainsAny(p.Challenge, "\r\n") || strings.Count(p.Challenge, `"`) != 6 {
		t.Errorf("challenge %q", p.Challenge)
	}
}
