package app_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A request that is under way when the issuer is told to stop is answered, although
// nobody is let in any more.
func TestDrain(t *testing.T) {
	t.Parallel()
	i := start(t, configure(t, t.TempDir()))
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", i.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	body := object("username", alice, "password", alicePassword, "client_id", mobile)
	half := len(body) / 2
	if _, err := fmt.Fprintf(conn, "POST /v1/login HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		i.Listen, jsonType, len(body)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	// The server asks for the body once its handler reads it: the request is under way.
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(body[:half])); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- i.stop() }()
	eventually(t, func() error {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", i.Listen)
		if err != nil {
			return nil //nolint:nilerr // nobody is let in any more
		}
		_ = c.Close()
		return fmt.Errorf("still listening on %s", i.Listen)
	})
	if _, err := conn.Write([]byte(body[half:])); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	if got.StatusCode != http.StatusOK {
		t.Errorf("answered %d", got.StatusCode)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopping: %v", err)
	}
}
