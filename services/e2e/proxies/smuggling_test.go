//go:build unix

package proxies

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A second Authorization never slips by the sidecar: the application sees exactly the
// credentials that were judged, once. And where the ends of a request can be read in two
// ways, what comes after the one is not taken for a request of its own behind the proxy.
func testSmuggling(t *testing.T, r *rig, token string) {
	good := "Authorization: Bearer " + token
	for name, fields := range map[string][]string{
		"twice the same":   {good, good},
		"good, bad":        {good, "Authorization: Bearer x"},
		"bad, good":        {"Authorization: Bearer x", good},
		"good, basic":      {good, "Authorization: Basic YTpi"},
		"basic, good":      {"Authorization: Basic YTpi", good},
		"good, empty":      {good, "Authorization:"},
		"empty, good":      {"Authorization:", good},
		"folded":           {"Authorization: Bearer x", " , Bearer " + token},
		"other case":       {good, "AUTHORIZATION: Bearer x"},
		"underscore":       {good, "Authorization_: Bearer x"},
		"space":            {"Authorization : Bearer x", good},
		"tab":              {"Authorization\t: Bearer x", good},
		"connection":       {good, "Connection: close, authorization"},
		"proxy credential": {"Proxy-" + good},
	} {
		t.Run("authorization "+name, func(t *testing.T) {
			mark := r.app.mark()
			a := send(t, r.address, get("/orders", "api.example", "", fields...))
			for _, s := range r.app.since(mark) {
				var all []string
				for n, values := range s.Header {
					if fold(n) == "authorization" {
						all = append(all, values...)
					}
				}
				if !slices.Equal(all, []string{"Bearer " + token}) {
					t.Errorf("arrived with %d credentials (%s)", len(all), a)
				}
				verified(t, r, s, token)
			}
		})
	}

	const hidden = "GET /secret/smuggled HTTP/1.1\r\nHost: api.example\r\nX-Hidden: 1\r\n\r\n"
	post := func(body string, framing ...string) string {
		return "POST /uploads HTTP/1.1\r\nHost: api.example\r\n" + good + "\r\n" + strings.Join(framing, "\r\n") + "\r\n\r\n" + body
	}
	ended := "0\r\n\r\n" + hidden
	length := func(body string) string { return fmt.Sprintf("Content-Length: %d", len(body)) }
	outcomes := map[string]int{}
	for name, text := range map[string]string{
		"CL.TE":                 post(ended, length(ended), "Transfer-Encoding: chunked"),
		"TE.CL":                 post(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden), "Content-Length: 4", "Transfer-Encoding: chunked"),
		"TE first":              post(ended, "Transfer-Encoding: chunked", length(ended)),
		"xchunked":              post(ended, length(ended), "Transfer-Encoding: xchunked"),
		"space before colon":    post(ended, length(ended), "Transfer-Encoding : chunked"),
		"tab after colon":       post(ended, length(ended), "Transfer-Encoding:\tchunked"),
		"vertical tab":          post(ended, length(ended), "Transfer-Encoding: \vchunked"),
		"folded":                post(ended, length(ended), "Transfer-Encoding:", " chunked"),
		"two encodings":         post(ended, length(ended), "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
		"chunked, identity":     post(ended, length(ended), "Transfer-Encoding: chunked, identity"),
		"identity, chunked":     post(ended, length(ended), "Transfer-Encoding: identity, chunked"),
		"underscore":            post(ended, length(ended), "Transfer_Encoding: chunked"),
		"after a bare CR":       post(ended, length(ended), "X: a\rTransfer-Encoding: chunked"),
		"after a bare LF":       post(ended, length(ended), "X: a\nTransfer-Encoding: chunked"),
		"two lengths":           post(hidden, "Content-Length: 0", length(hidden)),
		"two lengths, other":    post(hidden, length(hidden), "Content-Length: 0"),
		"list of lengths":       post(hidden, "Content-Length: 0, "+fmt.Sprint(len(hidden))),
		"length with a plus":    post(hidden, "Content-Length: +0"),
		"length with a minus":   post(hidden, "Content-Length: -1"),
		"length in hexadecimal": post(hidden, "Content-Length: 0x0"),
		"length, underscore":    post(hidden, "Content_Length: 0", length(hidden)),
		"length overflows":      post(hidden, "Content-Length: 18446744073709551616"),
		"chunk size overflows":  post("10000000000000000\r\n"+hidden, "Transfer-Encoding: chunked"),
		"chunk size, minus":     post("-1\r\n"+hidden, "Transfer-Encoding: chunked"),
		"chunk with a bare LF":  post("0\n\n"+hidden, length("0\n\n"+hidden), "Transfer-Encoding: chunked"),
		"chunk extension":       post("0;a\n"+hidden+"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
		"GET with a length":     "GET /public/a HTTP/1.1\r\nHost: api.example\r\n" + length(hidden) + "\r\n\r\n" + hidden,
		"HTTP/1.0, chunked":     "POST /public/a HTTP/1.0\r\nHost: api.example\r\n" + length(ended) + "\r\nTransfer-Encoding: chunked\r\n\r\n" + ended,
		"pipelined":             "GET /public/a HTTP/1.1\r\nHost: api.example\r\n\r\n" + hidden,
		"in the target":         "GET /public/a HTTP/1.1\r\nHost: api.example\r\nX: y\r\n\r\nGET /secret/smuggled HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"upgrade to h2c":        "GET /public/a HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n" + hidden,
		"upgrade to nothing":    "GET /public/a HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n\r\n" + hidden,
		"expects a hundred":     post(hidden, "Expect: 100-continue", "Content-Length: 0"),
	} {
		mark := r.app.mark()
		a := sendRaw(t, r.address, text)
		outcomes[name] = a.status
		// Another's request, on whatever connection the proxy has kept.
		for range 3 {
			if next := send(t, r.address, get("/public/next", "api.example", "")); next.status != http.StatusOK {
				t.Errorf("%s: the next request is answered %s", name, next)
			}
		}
		for _, s := range r.app.since(mark) {
			if s.below("/secret") || s.Header.Get("X-Hidden") != "" {
				t.Errorf("%s: %s %s arrived by itself (%s)", name, s.Method, s.URI, a)
			}
		}
	}
	t.Logf("answered: %v", outcomes)
}
