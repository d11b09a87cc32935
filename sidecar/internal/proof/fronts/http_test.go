//go:build linux

package fronts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// httpCaller speaks just enough HTTP/1.1 to cost the client little: what it asks is
// one write, what comes back is read and thrown away but for what is wanted.
type httpCaller struct {
	conn net.Conn
	read *bufio.Reader
	ask  func(b *bytes.Buffer, token string)
	good func(status string, body []byte) bool
	buf  bytes.Buffer
}

// dialHTTP connects to "host:port" or "unix:path".
func dialHTTP(address string, ask func(*bytes.Buffer, string), good func(string, []byte) bool) (caller, error) {
	network := "tcp"
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, address = "unix", path
	}
	conn, err := net.Dial(network, address) //nolint:noctx // it is closed by whoever dials
	if err != nil {
		return nil, err
	}
	return &httpCaller{conn: conn, read: bufio.NewReaderSize(conn, 16<<10), ask: ask, good: good}, nil
}

func (c *httpCaller) close() error { return c.conn.Close() }

func (c *httpCaller) call(token string) (bool, error) {
	c.buf.Reset()
	c.ask(&c.buf, token)
	if _, err := c.conn.Write(c.buf.Bytes()); err != nil {
		return false, err
	}
	line, err := c.read.ReadSlice('\n')
	if err != nil || len(line) < len("HTTP/1.1 200") {
		return false, errors.Join(err, fmt.Errorf("status line %q", line))
	}
	status, size := string(line[9:12]), 0
	for {
		line, err := c.read.ReadSlice('\n')
		if err != nil {
			return false, err
		}
		if len(line) <= 2 {
			break
		}
		const length = "content-length: "
		if len(line) > len(length) && strings.EqualFold(string(line[:len(length)]), length) {
			if size, err = strconv.Atoi(strings.TrimSpace(string(line[len(length):]))); err != nil {
				return false, err
			}
		}
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.read, body); err != nil {
		return false, err
	}
	return c.good(status, body), nil
}

// askAuth is what nginx's auth_request sends.
func askAuth(b *bytes.Buffer, token string) {
	b.WriteString("GET /auth HTTP/1.1\r\nHost: sidecar\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Host: api.example\r\nX-Forwarded-Uri: /orders/5\r\n" +
		"User-Agent: Mozilla/5.0\r\nAccept: application/json\r\nAuthorization: Bearer ")
	b.WriteString(token)
	b.WriteString("\r\n\r\n")
}

func ok(status string, _ []byte) bool { return status == "200" }

// askOPA asks for the rule's value, the token in the input.
func askOPA(b *bytes.Buffer, token string) {
	const before, after = `{"input":{"token":"`, `"}}`
	b.WriteString("POST /v1/data/revocast/allow HTTP/1.1\r\nHost: opa\r\nContent-Type: application/json\r\nContent-Length: ")
	b.WriteString(strconv.Itoa(len(before) + len(token) + len(after)))
	b.WriteString("\r\n\r\n" + before)
	b.WriteString(token)
	b.WriteString(after)
}

func allowed(status string, body []byte) bool {
	return status == "200" && bytes.Contains(body, []byte(`"result":true`))
}
