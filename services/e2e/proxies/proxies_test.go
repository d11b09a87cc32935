//go:build unix

package proxies

import "testing"

// nginx writes below a directory that only an installed one has, and its processes would
// outlive a test that is cut off.
var (
	nginxArgs  = []string{"-p", ".", "-c", "deploy/proxies/nginx.conf", "-g", "daemon off; master_process off; pid nginx.pid; error_log stderr;"}
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

// all are the proxies; see docs/proxies.md.
var all = []proxy{
	{name: "nginx", program: "nginx", files: []string{"nginx.conf"}, args: nginxArgs, swap: [][2]string{nginxPaths}, keeps: nginxKeeps},
	{
		name: "nginx-unix", program: "nginx", files: []string{"nginx.conf"}, args: nginxArgs, keeps: nginxKeeps,
		// With the other family of headers, too.
		swap: [][2]string{
			nginxPaths,
			{"server 127.0.0.1:9470;", "server unix:/run/revocast/auth.sock;"},
			{"X-Forwarded-Method", "X-Original-Method"},
			{"X-Forwarded-Host", "X-Original-Host"},
			{"X-Forwarded-Uri", "X-Original-Uri"},
		},
		sidecar: append([]string{"--original-headers", "x-original"}, overSocket...),
	},
	{
		name: "haproxy", program: "haproxy", files: []string{"haproxy.cfg", "auth.lua"}, args: []string{"-f", "haproxy.cfg"}, dir: "deploy/proxies",
		ports: []int{8001}, trailers: true, http2: true,
	},
	{
		name: "haproxy-unix", program: "haproxy", files: []string{"haproxy.cfg", "auth.lua"}, args: []string{"-f", "haproxy.cfg"}, dir: "deploy/proxies",
		ports: []int{8001}, trailers: true, http2: true, sidecar: overSocket,
		swap: [][2]string{{"server sidecar 127.0.0.1:9470", "server sidecar unix@/run/revocast/auth.sock"}},
	},
	{name: "caddy", program: "caddy", files: []string{"Caddyfile"}, args: []string{"run", "--config", "deploy/proxies/Caddyfile"}, trailers: true, http2: true},
	{
		name: "caddy-unix", program: "caddy", files: []string{"Caddyfile"}, args: []string{"run", "--config", "deploy/proxies/Caddyfile"}, trailers: true, http2: true,
		sidecar: overSocket, swap: [][2]string{{"forward_auth 127.0.0.1:9470", "forward_auth unix//run/revocast/auth.sock"}},
	},
	{
		name: "traefik", program: "traefik", files: []string{"traefik/traefik.yaml", "traefik/dynamic.yaml"},
		args: []string{"--configFile=deploy/proxies/traefik/traefik.yaml"}, ports: []int{8001}, http2: true,
	},
	{name: "envoy", program: "envoy", files: []string{"envoy.yaml"}, args: envoyArgs, http2: true},
	{
		name: "envoy-unix", program: "envoy", files: []string{"envoy.yaml"}, args: envoyArgs, http2: true, sidecar: overGRPCSocket,
		swap: [][2]string{{"{ socket_address: { address: 127.0.0.1, port_value: 9471 } }", "{ pipe: { path: /run/revocast/grpc.sock } }"}},
	},
}

// envoyArgs keep it from sharing memory with another Envoy on the machine.
var envoyArgs = []string{"-c", "deploy/proxies/envoy.yaml", "--disable-hot-restart", "--concurrency", "2", "--log-level", "warn"}

// Every proxy with the configuration that is shipped lets through what the sidecar lets
// through, and nothing else, whatever becomes of the sidecar.
func TestProxies(t *testing.T) {
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			r := start(t, p)
			good := r.login(t, 1)
			t.Run("identity", func(t *testing.T) { testIdentity(t, r, good.tokens[0]) })
			t.Run("refusals", func(t *testing.T) { testRefusals(t, r, good.tokens[0]) })
			t.Run("forged", func(t *testing.T) { testForged(t, r, good.tokens[0]) })
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
		})
	}
}
