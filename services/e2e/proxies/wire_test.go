//go:build unix

package proxies

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answer is what a client got; status 0 for a connection that was closed, or that had
// brought nothing when the client gave up.
type answer struct {
	status int
	header http.Header
	took   time.Duration
}

// patience is how long a client waits.
const patience = 8 * time.Second

func (a answer) String() string {
	return fmt.Sprintf("%d after %s %v", a.status, a.took.Round(10*time.Millisecond), a.header["Www-Authenticate"])
}

// send writes a request as it stands, on a connection of its own, and reads the answer
// to it. Lines may end in a line feed alone, to be readable here; it is sent as CR LF.
func send(t *testing.T, address, request string) answer {
	t.Helper()
	return sendRaw(t, address, strings.ReplaceAll(request, "\n", "\r\n"))
}

func sendRaw(t *testing.T, address, request string) answer {
	t.Helper()
	began := time.Now()
	gone := func() answer { return answer{took: time.Since(began)} }
	c, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err) // the proxy itself is there
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(began.Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		return gone() // it may refuse before it has read all
	}
	method, _, _ := strings.Cut(request, " ")
	reader := bufio.NewReader(c)
	resp, err := http.ReadResponse(reader, &http.Request{Method: method})
	for err == nil && resp.StatusCode < http.StatusOK && resp.StatusCode != http.StatusSwitchingProtocols {
		resp, err = http.ReadResponse(reader, &http.Request{Method: method})
	}
	if err != nil {
		return gone()
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return gone()
	}
	return answer{resp.StatusCode, resp.Header, time.Since(began)}
}

// get is the text of a GET that closes its connection.
func get(target, host, token string, fields ...string) string {
	return request("GET", target, host, token, fields...)
}

// request is the text of a request without a body.
func request(method, target, host, token string, fields ...string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\nHost: %s\n", method, target, host)
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\n", token)
	}
	closes := true
	for _, f := range fields {
		closes = closes && !strings.HasPrefix(f, "Connection:")
		fmt.Fprintf(&b, "%s\n", f)
	}
	if closes {
		b.WriteString("Connection: close\n")
	}
	if method == http.MethodPost {
		b.WriteString("Content-Length: 0\n")
	}
	b.WriteString("\n")
	return b.String()
}
