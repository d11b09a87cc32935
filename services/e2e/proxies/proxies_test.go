//go:build unix

package proxies

import (
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
)

// nginx writes below a directory that only an installed one has, and its processes would
// outlive a test that is cut off.
var (
	nginxArgs  = []string{"-g", "daemon off; master_process off; pid nginx.pid; error_log stderr;"}
	nginxPaths = [2]string{"http {", "http { access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;"}
)

// It drops every header with an underscore or a dot in its name, but cannot remove by
// prefix.
var nginxKeeps = []string{"x-auth-anything", "x-auth-subject-id", "x-auth-", "x-revocast-anything"}

// Sidecars that listen on Unix sockets.
var (
	overSocket     = []string{"--listen", "unix:/run/revocast/auth.sock"}
	overGRPCSocket = []string{"--grpc-listen", "unix:/run/revocast/grpc.sock"}
)

// Some proxies tell a sidecar that does not answer from one that is not there.
const (
	unavailable = http.StatusServiceUnavailable
	badGateway  = http.StatusBadGateway
	timedOut    = http.StatusGatewayTimeout
)

// all are the proxies; see docs/proxies.md.
var all = []proxy{
	{
		name: "nginx", command: "nginx -p . -c deploy/proxies/nginx.conf", args: nginxArgs, files: []string{"nginx.conf"},
		swap: [][2]string{nginxPaths}, keeps: nginxKeeps, frozen: unavailable, killed: unavailable,
	},
	{
		name: "nginx-unix", command: "nginx -p . -c deploy/proxies/nginx.conf", args: nginxArgs, files: []string{"nginx.conf"},
		// With HTTP/2 and the other family of headers, too.
		swap: [][2]string{
			nginxPaths,
			{"listen 127.0.0.1:8000;", "listen 127.0.0.1:8000; listen 127.0.0.1:8001 http2;"},
			{"server 127.0.0.1:9470;", "server unix:/run/revocast/auth.sock;"},
			{"X-Forwarded-Method", "X-Original-Method"},
			{"X-Forwarded-Host", "X-Original-Host"},
			{"X-Forwarded-Uri", "X-Original-Uri"},
		},
		sidecar: append([]string{"--original-headers", "x-original"}, overSocket...),
		http2:   portOwn, keeps: nginxKeeps, frozen: unavailable, killed: unavailable,
	},
	{
		name: "haproxy", command: "haproxy -f haproxy.cfg", dir: "deploy/proxies", files: []string{"haproxy.cfg", "auth.lua"},
		http2: portProxy, trailers: true, frozen: unavailable, killed: unavailable,
	},
	{
		name: "haproxy-unix", command: "haproxy -f haproxy.cfg", dir: "deploy/proxies", files: []string{"haproxy.cfg", "auth.lua"},
		swap: [][2]string{{"server sidecar 127.0.0.1:9470", "server sidecar unix@/run/revocast/auth.sock"}}, sidecar: overSocket,
		http2: portProxy, trailers: true, frozen: unavailable, killed: unavailable,
	},
	{
		name: "caddy", command: "caddy run --config deploy/proxies/Caddyfile", files: []string{"Caddyfile"},
		http2: portProxy, trailers: true, frozen: timedOut, killed: badGateway,
	},
	{
		name: "caddy-unix", command: "caddy run --config deploy/proxies/Caddyfile", files: []string{"Caddyfile"},
		swap: [][2]string{{"forward_auth 127.0.0.1:9470", "forward_auth unix//run/revocast/auth.sock"}}, sidecar: overSocket,
		http2: portProxy, trailers: true, frozen: timedOut, killed: badGateway,
	},
	{
		name: "traefik", command: "traefik --configFile=deploy/proxies/traefik/traefik.yaml",
		files: []string{"traefik/traefik.yaml", "traefik/dynamic.yaml"},
		http2: portProxy, frozen: timedOut, killed: badGateway,
	},
	{
		name: "envoy", command: "envoy -c deploy/proxies/envoy.yaml", args: envoyArgs, files: []string{"envoy.yaml"},
		http2: portProxy, frozen: unavailable, killed: unavailable,
	},
	{
		name: "envoy-unix", command: "envoy -c deploy/proxies/envoy.yaml", args: envoyArgs, files: []string{"envoy.yaml"},
		swap:    [][2]string{{"{ socket_address: { address: 127.0.0.1, port_value: 9471 } }", "{ pipe: { path: /run/revocast/grpc.sock } }"}},
		sidecar: overGRPCSocket, http2: portProxy, frozen: unavailable, killed: unavailable,
	},
}

// envoyArgs keep it from sharing memory with another Envoy on the machine.
var envoyArgs = []string{"--disable-hot-restart", "--concurrency", "2", "--log-level", "warn"}

// The document starts the proxies as these tests do, and says what they answer without
// the sidecar.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if !strings.Contains(string(text), p.command) {
			t.Errorf("%s is started by %q", p.name, p.command)
		}
		found := false
		for line := range strings.Lines(string(text)) {
			cells := strings.Split(line, " | ")
			found = found || len(cells) == 4 && strings.EqualFold(cells[0], "| "+p.program()) &&
				strings.HasPrefix(cells[1], strconv.Itoa(p.frozen)) && strings.HasPrefix(cells[2], strconv.Itoa(p.killed))
		}
		if !found {
			t.Errorf("%s answers %d while the sidecar is frozen, %d when it is gone", p.name, p.frozen, p.killed)
		}
	}
}

// Every proxy with the configuration that is shipped lets through what the sidecar lets
// through, and nothing else, whatever becomes of the sidecar.
func TestProxies(t *testing.T) {
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			r := start(t, p)
			good := r.login(t, 1)
			t.Run("identity", func(t *testing.T) { testIdentity(t, r, good.tokens[0]) })
			t.Run("refusals", func(t *testing.T) { testRefusals(t, r, good.tokens[0]) })
			t.Run("forged", func(t *testing.T) { testForged(t, r, enforcing(good.tokens[0])) })
			t.Run("body", func(t *testing.T) { testBody(t, r, good.tokens[0]) })
			t.Run("routes", func(t *testing.T) { testRoutes(t, r, good.tokens[0]) })
			t.Run("hosts", func(t *testing.T) { testHosts(t, r, good.tokens[0]) })
			t.Run("http2", func(t *testing.T) { testHTTP2(t, r, good.tokens[0]) })
			t.Run("smuggling", func(t *testing.T) { testSmuggling(t, r, good.tokens[0]) })
			revoked := session{}
			t.Run("load", func(t *testing.T) { revoked = testLoad(t, r) })
			t.Run("frozen", func(t *testing.T) { testFrozen(t, r, good.tokens[0]) })
			t.Run("killed", func(t *testing.T) { testKilled(t, r, good.tokens[0]) })
			t.Run("afterwards", func(t *testing.T) { testAfterwards(t, r, good.tokens[0], revoked) })
			t.Run("shadow", func(t *testing.T) { testShadow(t, r, good.tokens[0], revoked) })
		})
	}
}
