package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
