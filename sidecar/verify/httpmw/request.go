package httpmw

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/revocast/revocast/sidecar/internal/front"
)

// forged reports whether a client's field of that name must not reach a handler.
func forged(name string) bool { return front.IsIdentity(name) || front.IsOverride(name) }

// clean takes from a request, which shares its header and trailer with another, what the
// client has no say in. The other stays as it is.
func clean(r *http.Request) {
	r.Header = without(r.Header)
	if named, ok := r.Header["Connection"]; ok {
		r.Header["Connection"] = unnamed(named)
	}
	if r.Trailer == nil {
		return // what nobody has announced a shallow copy never sees
	}
	sent := r.Trailer
	r.Trailer = without(sent)
	if r.Body != nil {
		r.Body = &body{r.Body, sent, r.Trailer}
	}
}

// without are the fields of h that are not forged. Values are shared.
func without(h http.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if !forged(name) {
			kept[name] = values
		}
	}
	return kept
}

// unnamed are values of Connection that name no identity header: a proxy among the
// handlers would take it for one of this connection's alone and remove it.
func unnamed(values []string) []string {
	kept := make([]string, len(values))
	for i, list := range values {
		options := strings.Split(list, ",")
		kept[i] = strings.Join(slices.DeleteFunc(options, func(o string) bool { return front.IsIdentity(strings.TrimSpace(o)) }), ",")
	}
	return kept
}

// body tells the trailer, which the server fills when it has read the body.
type body struct {
	io.ReadCloser
	sent, told http.Header
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		maps.Copy(b.told, without(b.sent))
	}
	return n, err //nolint:wrapcheck // a reader's errors are its own
}
