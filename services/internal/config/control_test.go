package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const idp = "issuer=https://id.example,audience=api"

func TestControl(t *testing.T) {
	local := []string{"--listen", "127.0.0.1:8080", "--mode", "control"}
	c, err := parse(t, append(local, "--provider", idp, "--provider", "issuer=http://127.0.0.1:9/realms/a,audience=a,audience=b,jwks=keys.json,alg=ES256,typ=logout+jwt")...)
	if err != nil || !c.Control() || len(c.Providers) != 2 || c.Providers[0].Issuer != "https://id.example" || len(c.Providers[1].Audiences) != 2 {
		t.Errorf("%+v, %v", c.Providers, err)
	}
	if c, err := parse(t, "--listen", "127.0.0.1:8080", "--provider", idp); err != nil || c.Control() || len(c.Providers) != 1 {
		t.Errorf("in full mode: %+v, %v", c.Providers, err)
	}
	if _, err := parse(t, "--listen", "127.0.0.1:8080", "--mode", "half"); err == nil || !strings.Contains(err.Error(), "--mode") {
		t.Errorf("got %v", err)
	}
	if _, err := parse(t, append(local, "--foreign-max-lifetime", "1h", "--foreign-max-session", "10h", "--audit-max-age", "48h", "--canary-interval", "0")...); err != nil {
		t.Errorf("what means something is refused: %v", err)
	}
}

// Sessions of others do not end before their tokens, and neither lasts for ever.
func TestForeignLifetimes(t *testing.T) {
	local := []string{"--listen", "127.0.0.1:8080"}
	if c, err := parse(t, local...); err != nil || c.ForeignMaxLifetime != 24*time.Hour || c.ForeignMaxSession != 720*time.Hour {
		t.Errorf("by default %s and %s, %v", c.ForeignMaxLifetime, c.ForeignMaxSession, err)
	}
	for _, c := range []struct{ lifetime, session, refused string }{
		{"1h", "1h", ""},
		{"1h", "59m59s", "--foreign-max-session"},
		{"721h", "720h", "--foreign-max-session"},
		{"1h", "87840h", ""},
		{"1h", "87841h", "--foreign-max-session"},
		{"87841h", "87841h", "--foreign-max-lifetime"},
		{"59s", "1h", "--foreign-max-lifetime"},
		{"1h", "-1h", "--foreign-max-session"},
	} {
		_, err := parse(t, append(local, "--foreign-max-lifetime", c.lifetime, "--foreign-max-session="+c.session)...)
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// What has no meaning in control mode is refused, wherever it was said, all at once.
func TestControlRefusesWhatMeansNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuer.yaml")
	if err := os.WriteFile(file, []byte("mode: control\nthrottle-login: 3/1h\nprovider: [\""+idp+"\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REVOCAST_ACCESS_TTL", "5m")
	t.Setenv("REVOCAST_RISK_HOOK", "") // set to nothing is not set
	args := []string{
		"--config", file, "--listen", "127.0.0.1:8080", "--users", "u.yaml", "--clients=c.yaml", "--signing-alg", "RS256",
		"--key-overlap", "1h",
	}
	_, err := parse(t, args...)
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, flag := range []string{"users", "clients", "signing-alg", "key-overlap", "throttle-login", "access-ttl"} {
		if n := strings.Count(err.Error(), "--"+flag+": means nothing with --mode control"); n != 1 {
			t.Errorf("--%s is named %d times in:\n%v", flag, n, err)
		}
	}
	for _, flag := range []string{"risk-hook", "refresh-idle", "provider", "throttle-user", "rotation-grace"} {
		if strings.Contains(err.Error(), "--"+flag) {
			t.Errorf("--%s was not said:\n%v", flag, err)
		}
	}
	t.Setenv("REVOCAST_ACCESS_TTL", "6m")
	t.Setenv("REVOCAST_MODE", "full")
	if c, err := parse(t, args...); err != nil || c.Control() || len(c.Providers) != 1 {
		t.Errorf("in full mode: %+v, %v", c.Providers, err)
	}
}

func TestProviders(t *testing.T) {
	for _, c := range []struct{ says, one, two string }{
		{"given twice", idp, idp + "2"},
		{"this issuer itself", "issuer=http://127.0.0.1:8080,audience=a", idp},
		{"audience: missing", "issuer=https://id.example", idp},
		{"no such setting", idp + ",max-lifetime=1h", idp},
	} {
		_, err := parse(t, "--listen", "127.0.0.1:8080", "--provider", c.one, "--provider", c.two)
		if err == nil || !strings.Contains(err.Error(), "--provider") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s and %s: %v", c.one, c.two, err)
		}
	}
	t.Setenv("REVOCAST_PROVIDER", idp)
	if c, err := parse(t, "--listen", "127.0.0.1:8080"); err != nil || len(c.Providers) != 1 || c.Providers[0].Audiences[0] != "api" {
		t.Errorf("%+v, %v", c.Providers, err)
	}
}
