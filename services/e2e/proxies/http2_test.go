//go:build unix

package proxies

import (
	"bufio"
	"encoding/binary"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// field is a header field of HTTP/2 as it is put on the wire, pseudo-headers included.
type field [2]string

// Frames of HTTP/2 (RFC 9113 section 6).
const (
	frameHeaders  = 0x1
	frameReset    = 0x3
	frameSettings = 0x4
	frameGoAway   = 0x7

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return append(binary.BigEndian.AppendUint32(append(head, flags), stream), payload...)
}

// hpack encodes fields as literals that are never indexed (RFC 7541 section 6.2.3), so
// that anything can be said.
func hpack(fields []field) (block []byte) {
	for _, f := range fields {
		block = append(block, 0x10)
		for _, text := range f {
			n := len(text)
			if n < 127 {
				block = append(block, byte(n))
			} else {
				block = append(block, 127)
				block = binary.AppendUvarint(block, uint64(n-127)) // the same as section 5.1
			}
			block = append(block, text...)
		}
	}
	return block
}

// sendHTTP2 sends one request without a body, and reports whether the stream was
// answered to its end rather than reset or the connection closed.
func sendHTTP2(t *testing.T, address string, fields []field) bool {
	t.Helper()
	c, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Error(err) // the proxy itself is there
		return false
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Error(err)
		return false
	}
	out := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	out = append(out, frame(frameSettings, 0, 0, nil)...)
	out = append(out, frame(frameHeaders, flagEndStream|flagEndHeaders, 1, hpack(fields))...)
	if _, err := c.Write(out); err != nil {
		return false
	}
	for in := bufio.NewReader(c); ; {
		var head [9]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return false
		}
		length, kind, flags := binary.BigEndian.Uint32(head[:4])>>8, head[3], head[4]
		stream := binary.BigEndian.Uint32(head[5:])
		if _, err := io.CopyN(io.Discard, in, int64(length)); err != nil {
			return false
		}
		switch {
		case kind == frameGoAway, kind == frameReset:
			return false
		case kind == frameSettings && flags&flagAck == 0:
			if _, err := c.Write(frame(frameSettings, flagAck, 0, nil)); err != nil {
				return false
			}
		case stream == 1 && flags&flagEndStream != 0:
			return true
		}
	}
}

// HTTP/2 lets a client say what lines of text cannot hold. Whatever it says, the
// application gets what the sidecar has judged.
func testHTTP2(t *testing.T, r *rig, token string) {
	authorization := field{"authorization", "Bearer " + token}
	ask := func(method, authority, path string, more ...field) []field {
		return slices.Concat([]field{{":method", method}, {":scheme", "http"}, {":authority", authority}, {":path", path}}, more)
	}
	mark := r.app.mark()
	answered := sendHTTP2(t, r.http2, ask("GET", "api.example", "/orders?a=1", authorization))
	seen := r.app.since(mark)
	if r.proxy.http2 == 0 {
		if answered || len(seen) > 0 {
			t.Error("it speaks HTTP/2, which is not tested")
		}
		return
	}
	if !answered || len(seen) != 1 || seen[0].URI != "/orders?a=1" || seen[0].Host != "api.example" {
		t.Fatalf("a good request: answered %t, arrived %+v", answered, seen)
	}
	verified(t, r, seen[0], token)

	hostile := map[string][]field{
		"host says another":          ask("GET", "api.example", "/orders", authorization, field{"host", "admin.example"}),
		"authority is the guarded":   ask("GET", "admin.example", "/orders", authorization, field{"host", "api.example"}),
		"host alone":                 {{":method", "GET"}, {":scheme", "http"}, {":path", "/orders"}, authorization, {"host", "admin.example"}},
		"two authorities":            ask("GET", "api.example", "/orders", field{":authority", "admin.example"}, authorization),
		"no host at all":             {{":method", "GET"}, {":scheme", "http"}, {":path", "/orders"}, authorization},
		"user in the authority":      ask("GET", "user@admin.example", "/orders", authorization),
		"two paths":                  ask("GET", "api.example", "/public/a", field{":path", "/secret/a"}),
		"two methods":                ask("GET", "api.example", "/health", field{":method", "POST"}),
		"path without a slash":       ask("GET", "api.example", "secret/a", authorization),
		"absolute path":              ask("GET", "api.example", "http://api.example/secret/a", authorization),
		"empty path":                 ask("GET", "api.example", "", authorization),
		"lines in the path":          ask("GET", "api.example", "/public/a HTTP/1.1\r\nX-Auth-Subject: forged\r\nX: y"),
		"a request in the path":      ask("GET", "api.example", "/public/a HTTP/1.1\r\nHost: api.example\r\n\r\nGET /secret/a HTTP/1.1\r\nX: y"),
		"lines in the method":        ask("GET /secret/a HTTP/1.1\r\nX: y", "api.example", "/public/a"),
		"a space in the method":      ask("GET /secret/a", "api.example", "/public/a"),
		"lines in the authority":     ask("GET", "api.example\r\nX-Auth-Subject: forged", "/public/a"),
		"lines in a value":           ask("GET", "api.example", "/public/a", field{"x-other", "a\r\nx-auth-subject: forged"}),
		"a line feed in a value":     ask("GET", "api.example", "/public/a", field{"x-other", "a\nx-auth-subject: forged"}),
		"a NUL in a value":           ask("GET", "api.example", "/public/a", field{"x-other", "a\x00x-auth-subject: forged"}),
		"a colon in a name":          ask("GET", "api.example", "/public/a", field{"x-auth-subject: forged\r\nx", "y"}),
		"capitals in a name":         ask("GET", "api.example", "/orders", authorization, field{"X-Auth-Subject", "forged"}),
		"identity":                   ask("GET", "api.example", "/orders", authorization, field{"x-auth-subject", "forged"}, field{"x-auth-subject", "forged"}),
		"identity, underscores":      ask("GET", "api.example", "/orders", authorization, field{"x_auth_subject", "forged"}, field{"x-auth_roles", "forged"}),
		"identity, after a space":    ask("GET", "api.example", "/orders", authorization, field{" x-auth-subject", "forged"}, field{"x-auth-roles ", "forged"}),
		"identity, nobody":           ask("GET", "api.example", "/public/a", field{"x-auth-subject", "forged"}, field{"x-auth-roles", "forged"}),
		"identity by connection":     ask("GET", "api.example", "/orders", authorization, field{"connection", "x-auth-subject"}),
		"two credentials":            ask("GET", "api.example", "/orders", authorization, field{"authorization", "Bearer x"}),
		"two, the other way round":   ask("GET", "api.example", "/orders", field{"authorization", "Bearer x"}, authorization),
		"an encoding":                ask("POST", "api.example", "/uploads", authorization, field{"transfer-encoding", "chunked"}),
		"a length without a body":    ask("POST", "api.example", "/uploads", authorization, field{"content-length", "9"}),
		"what it asks for":           ask("GET", "api.example", "/secret/a", authorization, field{"x-forwarded-uri", "/public/a"}, field{"x-original-uri", "/public/a"}),
		"what it asks for, nobody":   ask("GET", "api.example", "/orders", field{"x-forwarded-uri", "/public/a"}, field{"x-envoy-original-path", "/public/a"}),
		"a pseudo-header at the end": {{":method", "GET"}, {":scheme", "http"}, {":authority", "api.example"}, authorization, {":path", "/orders"}},
		"an unknown pseudo-header":   ask("GET", "api.example", "/public/a", field{":protocol", "websocket"}),
		"a tunnel":                   {{":method", "CONNECT"}, {":authority", "admin.example:80"}, authorization},
	}
	for _, target := range tricks {
		hostile["path "+target] = ask("GET", "api.example", target)
		hostile["path "+target+", good token"] = ask("GET", "api.example", target, authorization)
	}
	// Several at once, for Envoy takes a second to close a connection that it does not like.
	names := slices.Sorted(maps.Keys(hostile))
	const caseName = "X-Case"
	mark = r.app.mark()
	var group sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i, name := range names {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			sendHTTP2(t, r.http2, append(hostile[name], field{strings.ToLower(caseName), strconv.Itoa(i)}))
		})
	}
	group.Wait()
	for _, s := range r.app.since(mark) {
		i, err := strconv.Atoi(s.Header.Get(caseName))
		if err != nil {
			t.Errorf("%s %s arrived, which is none of these requests", s.Method, s.URI)
			continue
		}
		name, fields := names[i], hostile[names[i]]
		bearer := ""
		if slices.Contains(fields, authorization) {
			bearer = token
		}
		given := s.Header["Authorization"]
		switch {
		case s.below("/secret"):
			t.Errorf("%s: %s %s arrived", name, s.Method, s.URI)
		case bearer == "" && !s.only("/public"):
			t.Errorf("%s: %s %s arrived without a token", name, s.Method, s.URI)
		case slices.Contains(hosts(strings.ToLower(s.Host)), "admin.example"):
			t.Errorf("%s: arrived with host %q", name, s.Host)
		case bearer != "" && (len(given) != 1 || given[0] != authorization[1]):
			t.Errorf("%s: arrived with %d credentials", name, len(given))
		}
		if s.only("/public") {
			bearer = "" // nothing is known of who asks, token or not
		}
		verified(t, r, s, bearer)
	}
	if !answers(r.address) {
		t.Error("it does not answer any more")
	}
}
