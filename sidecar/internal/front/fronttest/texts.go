package fronttest

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front"
)

// Door is where a front listens, in HTTP/1.1 and over TCP.
type Door struct {
	Address string
	// Reached reports whether the application was reached since it was last asked; of a
	// front with no application behind, whether an answer lets a request pass.
	Reached func(Response) bool
}

// Texts holds the front that open puts before a checker to refusing what is no request of
// HTTP/1.1, or can be read as more than one, whatever token is in it; and to letting the
// good one pass afterwards.
func Texts(t *testing.T, open func(t *testing.T, check *front.Checker) Door) {
	t.Helper()
	s := Besiege(t)
	door := open(t, s.Check)
	const begin, end = "GET / HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n", "\r\n\r\n"
	field := "Authorization: Bearer " + s.Good
	cut := strings.IndexByte(s.Good, '.')
	bad := "Authorization: Bearer " + s.Good + "x\r\n"
	for name, text := range map[string]string{
		"space before the colon":      begin + "Authorization : Bearer " + s.Good + end,
		"space before the name":       begin + "X: y\r\n " + field + end,
		"NUL in the name":             begin + "Authorization\x00: Bearer " + s.Good + end,
		"NUL after the token":         begin + field + "\x00" + end,
		"NUL before the scheme":       begin + "Authorization: \x00Bearer " + s.Good + end,
		"bare CR":                     begin + field + "\rX: y" + end,
		"escape":                      begin + field + "\x1b" + end,
		"DEL":                         begin + field + "\x7f" + end,
		"folded inside":               begin + "Authorization: Bearer " + s.Good[:cut] + "\r\n " + s.Good[cut:] + end,
		"folded, a second behind":     begin + field + "\r\n " + s.Good + end,
		"in the trailer":              "POST / HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\n" + field + end,
		"in the body":                 "POST / HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " + strconv.Itoa(len("access_token="+s.Good)) + "\r\n\r\naccess_token=" + s.Good,
		"after the end":               begin + "\r\n" + field + end,
		"in the request line":         "GET /" + field + " HTTP/1.1\r\nHost: api.example" + end,
		"in the method":               "Bearer " + s.Good + " / HTTP/1.1\r\nHost: api.example\r\n" + bad + "\r\n",
		"two hosts":                   begin + "Host: other.example\r\n" + field + end,
		"no host":                     "GET / HTTP/1.1\r\nConnection: close\r\n" + field + end,
		"a space in the host":         "GET / HTTP/1.1\r\nHost: api.example x\r\n" + field + end,
		"two lengths":                 "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 0\r\nContent-Length: 5\r\n" + field + end + "hello",
		"a length that is none":       "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: +5\r\n" + field + end + "hello",
		"no version":                  "GET /\r\n" + field + end,
		"another version":             "GET / HTTP/1.2x\r\nHost: api.example\r\n" + field + end,
		"no colon":                    begin + "Authorization Bearer " + s.Good + end,
		"no name":                     begin + ": x\r\n" + field + end,
		"a name in another alphabet":  begin + "Authoriz\u0430tion: Bearer " + s.Good + end,
		"a mebibyte of path":          "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: api.example\r\n" + bad + "\r\n",
		"a mebibyte of a name":        begin + strings.Repeat("a", 1<<20) + ": x\r\n" + bad + "\r\n",
		"a mebibyte of empty names":   begin + strings.Repeat("a:\r\n", 1<<18) + bad + "\r\n",
		"a mebibyte of spaces":        begin + "Authorization: Bearer " + strings.Repeat(" ", 1<<20) + "x" + end,
		"a mebibyte of fields in one": begin + "Authorization: " + strings.Repeat("Bearer x,", 1<<17) + "Bearer " + s.Good + end,
	} {
		t.Run(name, func(t *testing.T) {
			method, _, _ := strings.Cut(text, " ")
			got := SendText(t, door.Address, method, text)
			if reached := door.Reached(got); reached || got.Status < 400 || got.Status > 499 {
				t.Errorf("status %d, %v; the application was reached: %t", got.Status, got.Header, reached)
			}
			good := SendText(t, door.Address, http.MethodGet, begin+field+end)
			if reached := door.Reached(good); !reached || good.Status != http.StatusOK {
				t.Errorf("the good token afterwards: status %d, %v; reached: %t", good.Status, good.Header, reached)
			}
		})
	}
}
