package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// dial opens a connection that bytes are sent on as they are; it is closed when the
// test ends.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the other side may have closed it
	return conn
}

// finish sends the rest of a request and gives the status of the answer, 0 if the
// server hung up.
func finish(conn net.Conn, rest string) int {
	if _, err := io.WriteString(conn, rest); err != nil {
		return 0
	}
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || got.Body.Close() != nil {
		return 0
	}
	return got.StatusCode
}

func raw(t *testing.T, address, text string) int {
	t.Helper()
	return finish(dial(t, address), text)
}

// Ids in a path are whatever the other side likes. None reaches the broker but ours.
func (p pair) oddPathsDoNothing(t *testing.T) {
	mine, other := p.a.login(t), p.a.login(t, "client_id", tablet)
	operator := p.a.operatorToken(t)
	sid := mine.Session
	ids := []string{
		"*", ">", ".", "..", "%2A", "%3E", "%2E", "%2e%2e", "%2F", "%2f..%2f", "a.b", "*.*", "a%20b", "%09", "%00", "%0d%0aX:1", "%ff%fe",
		"%F0%9F%92%A9", strings.Repeat("a", 8000), strings.Repeat("%2A", 2000), strings.Repeat("-", 36), strings.ToUpper(sid),
		"{" + sid + "}", sid + ".>", sid + "/", sid + "/x", "/" + sid, "./" + sid, sid[:35] + "*", sid[:35], sid + "0", "urn:uuid:" + sid,
		"$JS.API.STREAM.DELETE.X", "_INBOX.x", "null", "'%20OR%201=1",
	}
	for _, id := range ids {
		for _, r := range []struct{ base, method, path, token string }{
			{p.b.Listen, "DELETE", "/v1/sessions/" + id, mine.Access},
			{p.b.Listen, "DELETE", "/v1/sessions/" + id, ""},
			{p.b.AdminListen, "GET", "/admin/v1/subjects/" + id + "/sessions", operator},
			{p.b.AdminListen, "GET", "/admin/v1/subjects/" + id + "/sessions", ""},
			{p.b.AdminListen, "PUT", "/admin/v1/users/" + id + "/password", operator},
		} {
			text := r.method + " " + r.path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
			if r.token != "" {
				text += "Authorization: Bearer " + r.token + "\r\n"
			}
			body := object("password", "not-to-be-set-7")
			got := raw(t, r.base, text+fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))+body)
			allowed := []int{307, 400, 401, 404, 405}
			if r.token != "" && r.method != "PUT" {
				allowed = append(allowed, 200, 204)
			}
			if !slices.Contains(allowed, got) {
				t.Errorf("%s %.80s: %d, want one of %v", r.method, r.path, got, allowed)
			}
		}
	}
	for _, who := range []tokens{mine, other} {
		p.b.call(t, "GET", "/v1/session", who.Access).want(t, 200)
		p.b.changePassword(t, who, "wrong-password-7", "not-to-be-set-7").want(t, 403)
	}
	p.a.login(t)
	list := decode[struct{ Sessions []any }](t, p.b.operate(t, "GET", "/admin/v1/subjects/"+p.subject(t, mine)+"/sessions", ""))
	if len(list.Sessions) < 3 {
		t.Errorf("%d sessions are left", len(list.Sessions))
	}
}

// What is no good HTTP, or too much of it, is cut off early and politely.
func (p pair) badHTTPIsRefused(t *testing.T) {
	token := p.a.login(t).Access
	const end = "\r\n\r\n"
	head := func(line string) string {
		return line + "\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + token
	}
	session := head("GET /v1/session HTTP/1.1")
	if got := raw(t, p.b.Listen, session+end); got != 200 {
		t.Fatalf("a good request: %d", got)
	}
	for name, c := range map[string]struct {
		text   string
		status int
	}{
		"oversize header":            {session + "\r\nX: " + strings.Repeat("x", 64<<10) + end, 431},
		"many headers":               {session + strings.Repeat("\r\nX-A: b", 8<<10) + end, 431},
		"oversize path":              {head("GET /v1/session?x="+strings.Repeat("x", 64<<10)+" HTTP/1.1") + end, 431},
		"oversize token":             {strings.Replace(session, token, strings.Repeat("a", 9<<10), 1) + end, 401},
		"two tokens":                 {session + "\r\nAuthorization: Bearer " + token + end, 400},
		"two tokens, one in query":   {head("GET /v1/session?access_token="+token+" HTTP/1.1") + end, 400},
		"a token in the query alone": {"GET /v1/session?access_token=" + token + " HTTP/1.1\r\nHost: x\r\nConnection: close" + end, 401},
		"another scheme":             {strings.Replace(session, "Bearer", "Basic", 1) + end, 401},
		"DPoP":                       {strings.Replace(session, "Bearer", "DPoP", 1) + end, 401},
		"no space":                   {strings.Replace(session, "Bearer ", "Bearer", 1) + end, 401},
		"two spaces":                 {strings.Replace(session, "Bearer ", "Bearer  ", 1) + end, 401},
		"two in one header":          {session + ", Bearer " + token + end, 401},
		"a quoted token":             {strings.Replace(session, token, `"`+token+`"`, 1) + end, 401},
		"an empty token":             {strings.Replace(session, token, "", 1) + end, 401},
		"no host":                    {"GET /v1/session HTTP/1.1\r\nAuthorization: Bearer " + token + end, 400},
		"two hosts":                  {session + "\r\nHost: y" + end, 400},
		"a broken escape":            {head("GET /v1/session%zz HTTP/1.1") + end, 400},
		"no HTTP":                    {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + end, 400},
		"two lengths":                {session + "\r\nContent-Length: 0\r\nContent-Length: 5" + end + "hello", 400},
		"a negative length":          {session + "\r\nContent-Length: -1" + end, 400},
		"a line break in a header":   {session + "\nX: a\x00b" + end, 400},
	} {
		if got := raw(t, p.b.Listen, c.text); got != c.status {
			t.Errorf("%s: %d, want %d", name, got, c.status)
		}
	}
	p.b.call(t, "GET", "/v1/session", token).want(t, 200)
}
