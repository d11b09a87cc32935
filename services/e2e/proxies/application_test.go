//go:build unix

package proxies

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// application is the API behind the proxies. It answers 200 to everything and remembers
// what reached it, so that it, and not a status, says what was let through.
type application struct {
	port int

	mu   sync.Mutex
	seen []sighting
}

// sighting is a request as the application got it.
type sighting struct {
	Method, URI, Host string
	Header, Trailer   http.Header
	Body              string
}

func startApplication(t *testing.T) *application {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &application{port: l.Addr().(*net.TCPAddr).Port}
	server := &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return a
}

// ServeHTTP implements [http.Handler].
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, "half a body", http.StatusBadRequest) // and yet it came
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, sighting{r.Method, r.RequestURI, r.Host, r.Header, r.Trailer, string(body)})
}

// mark is a point in what the application has seen.
func (a *application) mark() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

// since is what it has seen since a mark.
func (a *application) since(mark int) []sighting {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen[mark:])
}

// fold is a header's name as the least careful of gateways reads it: CGI makes no
// difference between hyphens and underscores, some none between these and dots.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, strings.TrimSpace(name))
}

// told is all that a request says of who asks, by folded names.
func (s sighting) told(trailers bool) map[string][]string {
	all := map[string][]string{}
	add := func(header http.Header) {
		for name, values := range header {
			if n := fold(name); strings.HasPrefix(n, "x-auth-") || strings.HasPrefix(n, "x-revocast-") {
				all[n] = append(all[n], values...)
			}
		}
	}
	add(s.Header)
	if trailers {
		add(s.Trailer)
	}
	return all
}

// below reports whether any server could read the request's path as one below prefix:
// decoded once or twice or not at all, with and without what follows semicolons, with
// backslashes for slashes, and with dots resolved and slashes merged.
func (s sighting) below(prefix string) bool {
	return slices.ContainsFunc(readings(s.URI), func(p string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") })
}

// only reports whether every server would read the path as one below prefix.
func (s sighting) only(prefix string) bool {
	return !slices.ContainsFunc(readings(s.URI), func(p string) bool { return p != prefix && !strings.HasPrefix(p, prefix+"/") })
}

func readings(uri string) (all []string) {
	raw, _, _ := strings.Cut(uri, "?")
	if _, after, absolute := strings.Cut(raw, "://"); absolute && raw[0] != '/' {
		_, after, _ = strings.Cut(after, "/")
		raw = "/" + after
	}
	given := []string{raw}
	for range 2 {
		if decoded, err := url.PathUnescape(given[len(given)-1]); err == nil {
			given = append(given, decoded)
		}
	}
	for _, p := range given {
		var bare []string
		for segment := range strings.SplitSeq(p, "/") {
			name, _, _ := strings.Cut(segment, ";")
			bare = append(bare, name)
		}
		for _, q := range []string{p, strings.Join(bare, "/")} {
			q, _, _ = strings.Cut(strings.ReplaceAll(q, `\`, "/"), "\x00")
			all = append(all, path.Clean("/"+q))
		}
	}
	return all
}

// The judge of all that follows can tell.
func TestReadings(t *testing.T) {
	for uri, below := range map[string]bool{
		"/secret": true, "/secret/": true, "/secret/a?b": true, "//secret": true, "/public/../secret": true, "/public/%2e%2e/secret": true,
		"/public/..;/secret": true, "/public/..%2fsecret": true, "/public/%252e%252e/secret": true, `/public/..\secret`: true,
		"/secret;a=b/c": true, "/%73ecret": true, "/secret%00.png": true, "http://api.example/secret": true,
		"/public/secret": false, "/secrets": false, "/public/a": false, "/": false,
	} {
		s := sighting{URI: uri}
		if s.below("/secret") != below {
			t.Errorf("%s: below /secret %t, want %t: %q", uri, !below, below, readings(uri))
		}
		if s.below("/secret") && s.only("/public") {
			t.Errorf("%s is only /public", uri)
		}
	}
	if s := (sighting{URI: "/public/a?b=../secret"}); !s.only("/public") {
		t.Errorf("not only /public: %q", readings(s.URI))
	}
}
