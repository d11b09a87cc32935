package clientauth_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/oauth"
	"github.com/revocast/revocast/services/internal/oauth/clientauth"
	"github.com/revocast/revocast/services/internal/session"
)

const (
	oddID     = "a:b+c%"
	oddSecret = "p:a ss%+ü&="
	secret    = "demo-service-secret"
)

func registry(t *testing.T) clients.Registry {
	t.Helper()
	name := filepath.Join(t.TempDir(), "clients.yaml")
	text := `clients:
  - {id: app, type: public, audiences: [a]}
  - {id: service, type: confidential, audiences: [a], secret_hash: "` + clients.HashSecret(secret) + `"}
  - {id: "` + oddID + `", type: confidential, audiences: [a], secret_hash: "` + clients.HashSecret(oddSecret) + `"}
`
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := clients.Load(name, session.Policy{AccessTTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func form(t *testing.T, values url.Values) oauth.Form {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	f, err := oauth.ReadForm(httptest.NewRecorder(), r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

func plain(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuthenticate(t *testing.T) {
	r := registry(t)
	for name, c := range map[string]struct {
		headers []string
		form    url.Values
		want    string // a client or an error code
	}{
		"basic":                         {[]string{basic("service", secret)}, nil, "service"},
		"basic, scheme in any case":     {[]string{"b" + basic("service", secret)[1:]}, nil, "service"},
		"basic, encoded characters":     {[]string{basic(oddID, oddSecret)}, nil, oddID},
		"basic, and the id in the form": {[]string{basic("service", secret)}, url.Values{"client_id": {"service"}}, "service"},
		"post":                          {nil, url.Values{"client_id": {"service"}, "client_secret": {secret}}, "service"},
		"post, encoded characters":      {nil, url.Values{"client_id": {oddID}, "client_secret": {oddSecret}}, oddID},
		"none":                          {nil, url.Values{"client_id": {"app"}}, "app"},
		"none, empty secret":            {nil, url.Values{"client_id": {"app"}, "client_secret": {""}}, "app"},
		"none, by basic":                {[]string{basic("app", "")}, nil, "app"},

		"two methods":               {[]string{basic("service", secret)}, url.Values{"client_id": {"service"}, "client_secret": {secret}}, "invalid_request"},
		"two methods, secret only":  {[]string{basic("service", secret)}, url.Values{"client_secret": {"x"}}, "invalid_request"},
		"two ids":                   {[]string{basic("service", secret)}, url.Values{"client_id": {"app"}}, "invalid_request"},
		"two headers":               {[]string{basic("service", secret), basic("service", secret)}, nil, "invalid_request"},
		"nothing":                   {nil, nil, "invalid_client"},
		"secret without an id":      {nil, url.Values{"client_secret": {secret}}, "invalid_client"},
		"unknown":                   {nil, url.Values{"client_id": {"nobody"}}, "invalid_client"},
		"unknown by basic":          {[]string{basic("nobody", secret)}, nil, "invalid_client"},
		"wrong secret":              {[]string{basic("service", "x")}, nil, "invalid_client"},
		"confidential, no secret":   {nil, url.Values{"client_id": {"service"}}, "invalid_client"},
		"confidential, empty basic": {[]string{basic("service", "")}, nil, "invalid_client"},
		"public with a secret":      {nil, url.Values{"client_id": {"app"}, "client_secret": {"x"}}, "invalid_client"},
		"empty id":                  {[]string{basic("", secret)}, nil, "invalid_client"},
		"bearer":                    {[]string{"Bearer abc"}, url.Values{"client_id": {"app"}}, "invalid_client"},
		"an empty header":           {[]string{""}, url.Values{"client_id": {"app"}}, "invalid_client"},
		"basic, no colon":           {[]string{plain("service")}, nil, "invalid_client"},
		"basic, not encoded":        {[]string{plain(oddID + ":" + oddSecret)}, nil, "invalid_client"},
		"basic, not base64":         {[]string{"Basic service:" + secret}, nil, "invalid_client"},
		"basic, not padded":         {[]string{"Basic YTpi" + "Yg"}, nil, "invalid_client"},
		"basic, a line break":       {[]string{basic("service", secret)[:20] + "\n" + basic("service", secret)[20:]}, nil, "invalid_client"},
		"basic, two spaces":         {[]string{strings.Replace(basic("service", secret), " ", "  ", 1)}, nil, "invalid_client"},
		"basic, broken escape":      {[]string{plain("service:%zz")}, nil, "invalid_client"},
		"basic, oversize":           {[]string{basic("service", strings.Repeat("x", 1<<16))}, nil, "invalid_client"},
		"long secret":               {nil, url.Values{"client_id": {"service"}, "client_secret": {strings.Repeat("x", 2000)}}, "invalid_client"},
		"long id":                   {nil, url.Values{"client_id": {strings.Repeat("x", 2000)}}, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if c.headers != nil {
				header["Authorization"] = c.headers
			}
			got, err := clientauth.Authenticate(header, form(t, c.form), r)
			if err == nil {
				if string(got.ID) != c.want {
					t.Errorf("authenticated as %q, want %s", got.ID, c.want)
				}
				return
			}
			e, ok := errors.AsType[*oauth.Error](err)
			if !ok || string(e.Code) != c.want || got.ID != "" {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q shows a secret", err)
			}
		})
	}
}

// All failures to prove who one is look alike.
func TestFailuresLookAlike(t *testing.T) {
	r := registry(t)
	var first string
	for _, v := range []url.Values{
		{"client_id": {"nobody"}},
		{"client_id": {"service"}},
		{"client_id": {"service"}, "client_secret": {"x"}},
		{"client_id": {"app"}, "client_secret": {"x"}},
	} {
		w := httptest.NewRecorder()
		_, err := clientauth.Authenticate(http.Header{}, form(t, v), r)
		oauth.WriteError(w, err)
		got := w.Result().Status + w.Body.String() + w.Header().Get("WWW-Authenticate")
		if w.Code != http.StatusUnauthorized || first != "" && got != first {
			t.Errorf("%v: %s, the first was %s", v, got, first)
		}
		first = got
	}
}
