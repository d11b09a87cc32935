package app_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
)

// What clients see of the limits: 429 with Retry-After, the same for everybody, and
// none of it where the owner is known or where addresses are told apart.
func TestThrottling(t *testing.T) {
	t.Parallel()
	i := start(t, configure(t, t.TempDir(), "--throttle-login", "3/1h", "--throttle-user", "100/1h", "--throttle-address", "20/1h",
		"--throttle-refresh", "2/1h", "--trusted-proxies", "127.0.0.0/8"))
	from := func(address, path, contentType, body string) reply {
		t.Helper()
		return must(t, request{
			method: http.MethodPost, url: i.public + path, contentType: contentType, body: body,
			header: http.Header{"X-Forwarded-For": {"203.0.113.99, " + address}},
		})
	}
	login := func(address string, pairs ...string) reply {
		return from(address, "/v1/login", jsonType, object(append([]string{"client_id", mobile}, pairs...)...))
	}
	waits := func(got reply) {
		t.Helper()
		if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 3600 {
			t.Errorf("Retry-After: %q", got.header.Get("Retry-After"))
		}
	}
	device := []string{"username", alice, "password", alicePassword, "device_secret", "AAAAAAAAAAAAAAAAAAAAAA"}
	mine := decode[tokens](t, login("192.0.2.1", device...).want(t, 200))

	var first reply
	for _, name := range []string{alice, "nobody-of-this-name"} {
		for range 3 {
			isProblem(t, name, login("192.0.2.1", "username", name, "password", "guess"), 401)
		}
		for _, password := range []string{"guess", alicePassword} {
			got := login("192.0.2.1", "username", name, "password", password)
			isProblem(t, name, got, 429)
			waits(got)
			if first.status == 0 {
				first = got
			}
			if got.body != first.body {
				t.Errorf("%s: %s, another: %s", name, got.body, first.body)
			}
		}
	}
	login("192.0.2.1", device...).want(t, 200)
	login("192.0.2.2", "username", alice, "password", alicePassword).want(t, 200)

	for n := range 3 {
		got := must(t, request{
			method: http.MethodPut, url: i.public + "/v1/password", bearer: mine.Access, contentType: jsonType,
			body: object("current_password", fmt.Sprint("guess-", n), "new_password", "not-to-be-set-7"),
		})
		isProblem(t, "wrong current password", got, 403)
	}
	got := must(t, request{
		method: http.MethodPut, url: i.public + "/v1/password", bearer: mine.Access, contentType: jsonType,
		body: object("current_password", alicePassword, "new_password", "not-to-be-set-7"),
	})
	isProblem(t, "one more", got, 429)
	waits(got)

	refresh := func(address, secret string) reply {
		return from(address, "/oauth/token", formType,
			form("grant_type", "refresh_token", "client_id", mobile, "refresh_token", mine.Refresh, "device_secret", secret))
	}
	for range 2 {
		isOAuthError(t, "without the secret", refresh("192.0.2.1", ""), 400, "invalid_grant")
	}
	got = refresh("192.0.2.1", "")
	isOAuthError(t, "once more", got, 429, "temporarily_unavailable")
	waits(got)
	isOAuthError(t, "from elsewhere", refresh("192.0.2.2", ""), 400, "invalid_grant")
	refresh("192.0.2.1", "AAAAAAAAAAAAAAAAAAAAAA").want(t, 200)

	for what, want := range map[string]float64{"login_user_address": 4, "password_change": 1, "refresh_session": 1, "login_user": 0, "login_address": 0} {
		if got := i.metric(t, fmt.Sprintf("revocast_issuer_throttled_total{what=%q}", what)); got != want {
			t.Errorf("%s: counted %g, want %g", what, got, want)
		}
	}
}
