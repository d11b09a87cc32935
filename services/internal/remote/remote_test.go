package remote_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/revocast/revocast/services/internal/remote"
)

func proxies(t testing.TB, cidrs ...string) remote.Proxies {
	t.Helper()
	p, err := remote.ParseProxies(cidrs)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// from is what a handler behind p takes for the client's address.
func from(t testing.TB, p remote.Proxies, peer string, forwarded ...string) netip.Addr {
	t.Helper()
	var got netip.Addr
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.RemoteAddr = peer
	r.Header["X-Forwarded-For"] = forwarded
	p.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = remote.Addr(r) })).
		ServeHTTP(httptest.NewRecorder(), r)
	return got
}

func TestAddr(t *testing.T) {
	const peer = "10.0.0.1:4711"
	for name, c := range map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"no proxy":                        {"192.0.2.7:4711", nil, "192.0.2.7"},
		"a stranger's claim":              {"192.0.2.7:4711", []string{"198.51.100.1"}, "192.0.2.7"},
		"a stranger's claim to be nearer": {"192.0.2.7:4711", []string{"198.51.100.1, 10.0.0.1"}, "192.0.2.7"},
		"one proxy":                       {peer, []string{"192.0.2.7"}, "192.0.2.7"},
		"a proxy that adds nothing":       {peer, nil, "10.0.0.1"},
		"an empty header":                 {peer, []string{""}, "10.0.0.1"},
		"a claim before the proxy":        {peer, []string{"198.51.100.1, 192.0.2.7"}, "192.0.2.7"},
		"a claim to be trusted":           {peer, []string{"198.51.100.1, 10.9.9.9, 192.0.2.7"}, "192.0.2.7"},
		"garbage before the proxy":        {peer, []string{"<script>, 192.0.2.7"}, "192.0.2.7"},
		"two proxies":                     {peer, []string{"192.0.2.7, 10.0.0.2"}, "192.0.2.7"},
		"two proxies and a claim":         {peer, []string{"198.51.100.1, 192.0.2.7, 10.0.0.2"}, "192.0.2.7"},
		"two lines":                       {peer, []string{"192.0.2.7", "10.0.0.2"}, "192.0.2.7"},
		"a claim in a line of its own":    {peer, []string{"198.51.100.1", "192.0.2.7, 10.0.0.2"}, "192.0.2.7"},
		"an empty line":                   {peer, []string{"192.0.2.7", ""}, "10.0.0.1"},
		"all of them trusted":             {peer, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"garbage":                         {peer, []string{"192.0.2.7, unknown"}, "10.0.0.1"},
		"garbage behind a good one":       {peer, []string{"192.0.2.7, unknown, 10.0.0.2"}, "10.0.0.2"},
		"an empty element":                {peer, []string{"192.0.2.7, , 10.0.0.2"}, "10.0.0.2"},
		"a trailing comma":                {peer, []string{"192.0.2.7,"}, "10.0.0.1"},
		"no space":                        {peer, []string{"192.0.2.7,10.0.0.2"}, "192.0.2.7"},
		"tabs":                            {peer, []string{"192.0.2.7,\t10.0.0.2\t"}, "192.0.2.7"},
		"another kind of space":           {peer, []string{"192.0.2.7\u00a0"}, "10.0.0.1"},
		"with a port":                     {peer, []string{"192.0.2.7:80"}, "192.0.2.7"},
		"with a port beyond all":          {peer, []string{"192.0.2.7:99999"}, "10.0.0.1"},
		"a leading zero":                  {peer, []string{"192.0.02.7"}, "10.0.0.1"},
		"three parts":                     {peer, []string{"192.0.2"}, "10.0.0.1"},
		"a name":                          {peer, []string{"client.example"}, "10.0.0.1"},
		"quoted, as in Forwarded":         {peer, []string{`"192.0.2.7"`}, "10.0.0.1"},
		"nowhere":                         {peer, []string{"0.0.0.0"}, "10.0.0.1"},
		"everywhere":                      {peer, []string{"ff02::1"}, "10.0.0.1"},
		"IPv6":                            {"[2001:db8::7]:80", nil, "2001:db8::7"},
		"IPv6 through a proxy":            {"[fd00::1]:80", []string{"2001:db8::7"}, "2001:db8::7"},
		"IPv6 with a port":                {"[fd00::1]:80", []string{"[2001:db8::7]:80"}, "2001:db8::7"},
		"IPv4 in IPv6":                    {"[::ffff:10.0.0.1]:80", []string{"::ffff:192.0.2.7"}, "192.0.2.7"},
		"a zone":                          {"[fd00::1%eth0]:80", []string{"fe80::7%eth0"}, "fe80::7"},
		"a Unix socket":                   {"@", []string{"192.0.2.7"}, "invalid IP"},
		"no peer":                         {"", []string{"192.0.2.7"}, "invalid IP"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := from(t, proxies(t, "10.0.0.0/8", "fd00::/64"), c.peer, c.forwarded...).String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestNobodyIsTrusted(t *testing.T) {
	if got := from(t, remote.Proxies{}, "127.0.0.1:80", "192.0.2.7").String(); got != "127.0.0.1" {
		t.Errorf("got %s", got)
	}
	if got := remote.Addr(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)); got.IsValid() {
		t.Errorf("without the handler: %s", got)
	}
}

func TestParseProxies(t *testing.T) {
	p := proxies(t, "10.0.0.1", "2001:db8::1", "192.0.2.0/24")
	for peer, want := range map[string]string{
		"10.0.0.1:1": "198.51.100.1", "10.0.0.2:1": "10.0.0.2", "192.0.2.255:1": "198.51.100.1",
		"[2001:db8::1]:1": "198.51.100.1", "[2001:db8::2]:1": "2001:db8::2",
	} {
		if got := from(t, p, peer, "198.51.100.1").String(); got != want {
			t.Errorf("%s: got %s, want %s", peer, got, want)
		}
	}
	for _, fault := range []string{
		"", "10.0.0.0/33", "10.0.0.1/8", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "proxy.example", "fe80::1%eth0", "10.0.0.0/08",
	} {
		_, err := remote.ParseProxies([]string{"10.0.0.0/8", fault, "worse"})
		if err == nil || !strings.Contains(err.Error(), `"`+fault+`"`) || !strings.Contains(err.Error(), "worse") {
			t.Errorf("%q: got %v, want both faults", fault, err)
		}
	}
}

// Whatever a client sends, the proxy that it really called writes behind it; so
// nothing it sends changes where it comes from.
func FuzzForwarded(f *testing.F) {
	f.Add("198.51.100.1", "", "192.0.2.7:80")
	f.Add("10.0.0.1, 10.0.0.2", "10.0.0.3", "[2001:db8::7%x]:1")
	f.Add(",,,", "\x00", "@")
	p := proxies(f, "10.0.0.0/8")
	f.Fuzz(func(t *testing.T, first, second, peer string) {
		if got := from(t, p, "10.0.0.1:80", first, second+", 192.0.2.7"); got.String() != "192.0.2.7" {
			t.Errorf("comes from %s", got)
		}
		if got := from(t, p, "10.0.0.1:80", first, second, "192.0.2.7,10.0.0.2"); got.String() != "192.0.2.7" {
			t.Errorf("comes from %s", got)
		}
		// Without trust it is the peer, whatever the header says.
		alone := from(t, remote.Proxies{}, peer)
		if got := from(t, remote.Proxies{}, peer, first, second); got != alone {
			t.Errorf("%s comes from %s", peer, got)
		}
		if got := from(t, p, peer, first, second); got.IsValid() != alone.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Errorf("%s comes from %s", peer, got)
		}
	})
}
