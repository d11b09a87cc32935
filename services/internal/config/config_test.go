package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/natsconn"
	"github.com/revocast/revocast/services/internal/config"
)

func parse(t *testing.T, args ...string) (config.Config, error) {
	t.Helper()
	var out bytes.Buffer
	return config.Parse(args, "test", func(code int) { t.Fatalf("exit %d: %s", code, out.String()) }, &out, &out)
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuer.yaml")
	if err := os.WriteFile(file, []byte("access-ttl: 1m\nrotation-grace: 2s\nrealm: from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REVOCAST_REALM", "from-env")
	t.Setenv("REVOCAST_ACCESS_TTL", "3m")
	c, err := parse(t, "--config", file, "--listen", "127.0.0.1:8080", "--access-ttl", "4m")
	if err != nil {
		t.Fatal(err)
	}
	if c.AccessTTL != 4*time.Minute {
		t.Errorf("a flag does not win: %s", c.AccessTTL)
	}
	if c.Realm != "from-env" {
		t.Errorf("the environment does not win over the file: %s", c.Realm)
	}
	if c.RotationGrace != 2*time.Second {
		t.Errorf("the file is not read: %s", c.RotationGrace)
	}
	if c.Issuer != "http://127.0.0.1:8080" {
		t.Errorf("issuer on loopback is %q", c.Issuer)
	}
}

func TestEveryFaultIsListed(t *testing.T) {
	dir := t.TempDir()
	_, err := parse(t, "--listen", ":8080", "--realm", "No Realm", "--data-dir", dir, "--keys-dir", filepath.Join(dir, "keys"),
		"--nats-url", "nats://127.0.0.1:4222", "--access-ttl", "48h", "--rotation-grace", "1h", "--admin-listen", "nowhere")
	if err == nil {
		t.Fatal("an invalid configuration was taken")
	}
	for _, flag := range []string{"--realm", "--issuer", "--keys-dir", "--nats-creds", "--access-ttl", "--rotation-grace", "--admin-listen"} {
		if !strings.Contains(err.Error(), flag) {
			t.Errorf("%s is not named in:\n%v", flag, err)
		}
	}
}

// How the broker is reached is looked at before anything is opened.
func TestBroker(t *testing.T) {
	ca := eventstest.NewCA(t, "ours")
	cert, key := ca.Client(t, 2)
	lost := filepath.Join(t.TempDir(), "lost.pem")
	local := []string{"--listen", "127.0.0.1:8080"}
	outside := slices.Clip(append(local, "--nats-creds", "x", "--nats-url", "tls://a,tls://b:4223"))
	t.Setenv("REVOCAST_NATS_KEY", key)
	c, err := parse(t, append(outside, "--nats-ca", ca.File, "--nats-cert", cert)...)
	if want := (natsconn.Files{CA: ca.File, Cert: cert, Key: key}); err != nil || c.NATSFiles() != want {
		t.Errorf("%+v, want %+v; %v", c.NATSFiles(), want, err)
	}
	t.Setenv("REVOCAST_NATS_KEY", "") // set to nothing is not set
	t.Setenv("REVOCAST_DATA_DIR", "")
	if c, err := parse(t, local...); err != nil || c.NATSKey != "" || filepath.Base(c.DataDir) != "data" {
		t.Errorf("%q, %q, %v", c.NATSKey, c.DataDir, err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{append(local, "--nats-ca", ca.File), "need --nats-url"},
		{append(local, "--nats-cert", cert, "--nats-key", key), "need --nats-url"},
		{append(outside, "--nats-ca", lost), "--nats-ca: open " + lost},
		{append(outside, "--nats-cert", cert), "--nats-cert " + cert + ": needs its key"},
		{append(outside, "--nats-key", key), "--nats-key " + key + ": needs its certificate"},
		{append(outside, "--nats-cert", key, "--nats-key", cert), "--nats-cert " + key + ", --nats-key " + cert + ": tls: "},
		{append(local, "--nats-creds", "x", "--nats-url", "nats://a,nats://user:hush@b"), "--nats-url: server 2: a user, password or token"},
		{append(local, "--nats-creds", "x", "--nats-url", "http://a"), "--nats-url: server 1: "},
	} {
		if _, err := parse(t, c.args...); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v: %v", c.args, err)
		}
	}
}

func TestIssuerURLs(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://id.example": true, "https://id.example/realms/a": true, "http://127.0.0.1:8080": true, "http://[::1]:8080": true,
		"http://localhost:8080": true, "http://id.example": false, "https://id.example/": false, "https://id.example?x=1": false,
		"https://u@id.example": false, "id.example": false, "ftp://id.example": false, "https://id.example#f": false,
	} {
		if _, err := parse(t, "--issuer", url); (err == nil) != ok {
			t.Errorf("--issuer %s: %v", url, err)
		}
	}
}

func TestUnknownNamesInTheFileAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuer.yaml")
	if err := os.WriteFile(file, []byte("acess-ttl: 1m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := parse(t, "--config", file, "--listen", "127.0.0.1:8080"); err == nil || !strings.Contains(err.Error(), "acess-ttl") {
		t.Errorf("got %v", err)
	}
}

func TestRiskHook(t *testing.T) {
	local := []string{"--listen", "127.0.0.1:8080"}
	c, err := parse(t, append(local, "--risk-hook", "https://risk.example/judge")...)
	if err != nil || c.RiskHookTimeout != 300*time.Millisecond || c.RiskHookFailure != "step-up" {
		t.Errorf("%s, %s, %v", c.RiskHookTimeout, c.RiskHookFailure, err)
	}
	for _, bad := range [][]string{
		{"--risk-hook", "http://risk.example/judge"}, {"--risk-hook-timeout", "0s"}, {"--risk-hook-timeout", "6s"}, {"--risk-hook-failure", "deny"},
	} {
		if _, err := parse(t, append(local, bad...)...); err == nil || !strings.Contains(err.Error(), bad[0]) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestThrottlingAndProxies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuer.yaml")
	if err := os.WriteFile(file, []byte("trusted-proxies: [10.0.0.0/8, \"fd00::/64\"]\nthrottle-login: 3/1h\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REVOCAST_THROTTLE_USER", "off")
	c, err := parse(t, "--config", file, "--listen", "127.0.0.1:8080", "--throttle-address", "1000/1m")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.TrustedProxies, " "); got != "10.0.0.0/8 fd00::/64" {
		t.Errorf("trusted proxies %s", got)
	}
	for want, got := range map[string]string{
		"3/1h0m0s": c.ThrottleLogin.String(), "off": c.ThrottleUser.String(), "1000/1m0s": c.ThrottleAddress.String(), "60/1m0s": c.ThrottleRefresh.String(),
	} {
		if got != want {
			t.Errorf("limit %s, want %s", got, want)
		}
	}
	c, err = parse(t, "--listen", "127.0.0.1:8080", "--trusted-proxies", "10.0.0.0/8,192.0.2.1")
	if err != nil || len(c.TrustedProxies) != 2 {
		t.Errorf("%v, %v", c.TrustedProxies, err)
	}
	for flag, bad := range map[string]string{
		"--trusted-proxies": "10.0.0.1/8", "--throttle-login": "ten", "--throttle-user": "10/0s", "--throttle-address": "0/1m", "--throttle-refresh": "1",
	} {
		if _, err := parse(t, "--listen", "127.0.0.1:8080", flag, bad); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s %s: %v", flag, bad, err)
		}
	}
}

// Operators' credentials never travel in the clear over a network.
func TestAdminListener(t *testing.T) {
	local := []string{"--listen", "127.0.0.1:8080"}
	tls := []string{"--admin-tls-cert", "c.pem", "--admin-tls-key", "k.pem"}
	for _, address := range []string{":8081", "0.0.0.0:8081", "192.0.2.1:8081", "[::]:8081", "admin.example:8081"} {
		if _, err := parse(t, append(local, "--admin-listen", address)...); err == nil || !strings.Contains(err.Error(), "--admin-listen") {
			t.Errorf("%s without TLS: %v", address, err)
		}
		if _, err := parse(t, append(append(local, "--admin-listen", address), tls...)...); err != nil {
			t.Errorf("%s with TLS: %v", address, err)
		}
	}
	for _, address := range []string{"127.0.0.1:8081", "[::1]:8081", "localhost:8081", "127.9.9.9:0"} {
		if _, err := parse(t, append(local, "--admin-listen", address)...); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, args := range [][]string{tls[:2], tls[2:], {"--admin-client-ca", "a.pem"}} {
		if _, err := parse(t, append(local, args...)...); err == nil || !strings.Contains(err.Error(), "--admin-tls-cert") {
			t.Errorf("%v: %v", args, err)
		}
	}
	c, err := parse(t, append(append(local, "--admin-client-ca", "a.pem"), tls...)...)
	if files := c.AdminTLS(); err != nil || filepath.Base(files.Cert) != "c.pem" || filepath.Base(files.Key) != "k.pem" || filepath.Base(files.ClientCA) != "a.pem" {
		t.Errorf("%+v, %v", files, err)
	}
	if c.AuditMaxAge != 400*24*time.Hour {
		t.Errorf("the audit remembers for %s", c.AuditMaxAge)
	}
	if _, err := parse(t, append(local, "--audit-max-age", "23h")...); err == nil || !strings.Contains(err.Error(), "--audit-max-age") {
		t.Errorf("got %v", err)
	}
}

func TestKeyRotation(t *testing.T) {
	for args, ok := range map[string]bool{
		"": true, "--key-rotation-interval=0": true, "--key-rotation-interval=1h --key-overlap=59m": true, "--key-overlap=0": true,
		"--key-rotation-interval=10m --key-overlap=10m": false, "--key-rotation-interval=-1h": false,
		"--key-overlap=-1s": false, "--key-overlap=721h": false, "--key-rotation-interval=0 --key-overlap=720h": true,
	} {
		c, err := parse(t, append([]string{"--listen", "127.0.0.1:8080"}, strings.Fields(args)...)...)
		if (err == nil) != ok {
			t.Errorf("%s: %v", args, err)
		}
		if args == "" && (c.KeyRotationInterval != 90*24*time.Hour || c.KeyOverlap != 10*time.Minute) {
			t.Errorf("a key lasts %s and is announced %s", c.KeyRotationInterval, c.KeyOverlap)
		}
	}
}
