package introspect_test

import (
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
)

// Every bad token is inactive, and nothing is said of why (RFC 7662 section 2.2); what a
// form cannot carry, or is larger than any form of this endpoint, is refused without a
// word, and the good token is active afterwards.
func TestAttacks(t *testing.T) {
	s := fronttest.Besiege(t)
	server := httptest.NewUnstartedServer(newEndpoint(t, s.Check))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	send := func(t *testing.T, body string) (status int, header http.Header, answer string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(client+":"+secret)))
		got, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(got.Body)
		if err := got.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return got.StatusCode, got.Header, string(text)
	}
	active := func(t *testing.T) {
		t.Helper()
		if status, _, answer := send(t, form("token", s.Good).Encode()); status != http.StatusOK || !strings.HasPrefix(answer, `{"active":true,`) {
			t.Fatalf("the good token: %d, %s", status, answer)
		}
	}
	active(t)
	inactive := 0
	for _, a := range s.Attacks {
		t.Run(a.Name, func(t *testing.T) {
			wantStatus, wantAnswer := http.StatusOK, `{"active":false}`
			switch {
			case len(a.Token) > 64<<10:
				wantStatus, wantAnswer = http.StatusRequestEntityTooLarge, `{"error":"invalid_request"}`
			case a.Name == "nothing", a.Name == "not UTF-8":
				wantStatus, wantAnswer = http.StatusBadRequest, `{"error":"invalid_request"}`
			default:
				inactive++
			}
			status, header, answer := send(t, form("token", a.Token).Encode())
			if status != wantStatus || answer != wantAnswer || header["Www-Authenticate"] != nil {
				t.Errorf("%d, %v, %s; want %d, %s", status, header, answer, wantStatus, wantAnswer)
			}
			if wantStatus != http.StatusOK {
				active(t)
			}
		})
	}
	if inactive < 300 {
		t.Errorf("%d tokens were judged", inactive)
	}
	good, bad := form("token", s.Good).Encode(), form("token", s.Attacks[0].Token).Encode()
	for name, c := range map[string]struct {
		body   string
		status int
		answer string
	}{
		"two tokens":       {good + "&" + bad, http.StatusBadRequest, `{"error":"invalid_request"}`},
		"two alike":        {good + "&" + good, http.StatusBadRequest, `{"error":"invalid_request"}`},
		"two, one encoded": {good + "&%74oken=x", http.StatusBadRequest, `{"error":"invalid_request"}`},
		"other case":       {strings.Replace(good, "token", "Token", 1), http.StatusBadRequest, `{"error":"invalid_request"}`},
		"semicolon":        {"x=1;" + good, http.StatusBadRequest, `{"error":"invalid_request"}`},
		"bad escape":       {good + "%zz", http.StatusBadRequest, `{"error":"invalid_request"}`},
		"JSON":             {`{"token":"` + s.Good + `"}`, http.StatusBadRequest, `{"error":"invalid_request"}`},
		"with its scheme":  {form("token", "Bearer "+s.Good).Encode(), http.StatusOK, `{"active":false}`},
		"NUL":              {good + "%00", http.StatusOK, `{"active":false}`},
		"NUL, as it is":    {good + "\x00", http.StatusOK, `{"active":false}`},
		"many members":     {good + strings.Repeat("&x=", 20_000), http.StatusBadRequest, `{"error":"invalid_request"}`},
	} {
		if status, header, answer := send(t, c.body); status != c.status || answer != c.answer || header["Www-Authenticate"] != nil {
			t.Errorf("%s: %d, %v, %s; want %d, %s", name, status, header, answer, c.status, c.answer)
		}
	}
	active(t)
}
