package proxy

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/revocast/revocast/sidecar/internal/front"
)

// ours is what the names of headers begin with that only the front may set.
const ours = "X-Revocast-"

// forged are the beginnings of names, and forgedWhole the names, of what a client could
// tell the application about a request in the place of what is judged and seen, besides
// [front.IsIdentity] and [front.IsOverride]: where it comes from, and by what way.
var (
	forged      = [...]string{ours, "X-Forwarded-", "X-Original-", "X-Rewrite-"}  //nolint:gochecknoglobals // constant
	forgedWhole = [...]string{"Forwarded", "X-Real-Ip", "Http2-Settings", "Host"} //nolint:gochecknoglobals // constant
)

// forgeable reports whether a client must not send a header of that name.
func forgeable(name string) bool {
	if front.IsIdentity(name) || front.IsOverride(name) {
		return true
	}
	for _, prefix := range forged {
		if front.Begins(name, prefix) {
			return true
		}
	}
	for _, whole := range forgedWhole {
		if len(name) == len(whole) && front.Begins(name, whole) {
			return true
		}
	}
	return false
}

// rewrite makes of the client's request the application's. Headers that the connection
// alone is meant for are gone already, so that none of those set here can be named one
// by the client.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	out.URL.Scheme, out.URL.Host = p.upstream.scheme, p.upstream.host
	out.URL.RawQuery = pr.In.URL.RawQuery // nothing here depends on how it is read
	out.Trailer = nil
	for name := range out.Header {
		if forgeable(name) {
			delete(out.Header, name)
		}
	}
	if !isWebSocket(pr.In.Header) {
		delete(out.Header, "Upgrade")
		delete(out.Header, "Connection")
	}
	pr.SetXForwarded()
	out.Header["Via"] = append(out.Header["Via"], fmt.Sprintf("%d.%d revocast", pr.In.ProtoMajor, pr.In.ProtoMinor))
	if e := exchangeOf(out); e != nil {
		for _, f := range e.answer.Identity() {
			out.Header[f.Name] = []string{f.Value}
		}
	}
}

// isWebSocket reports whether a request asks for what may be upgraded to.
func isWebSocket(h http.Header) bool {
	asked := h["Upgrade"]
	return len(asked) == 1 && strings.EqualFold(asked[0], "websocket")
}

// scrub removes from the header of an answer, or from what follows its body, what only
// the front may say.
func scrub(h http.Header) {
	for name := range h {
		plain := strings.TrimPrefix(name, http.TrailerPrefix)
		if front.IsIdentity(plain) || front.Begins(plain, ours) {
			delete(h, name)
		}
	}
}
