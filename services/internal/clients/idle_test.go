package clients_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/clients"
)

func TestIdleLimit(t *testing.T) {
	entry := func(id, limit string) string {
		line := "  - {id: " + id + ", type: public, grants: [refresh_token], first_party_login: true, scopes: [read], audiences: [\"https://api.example\"]"
		if limit != "" {
			line += ", refresh_idle: " + limit
		}
		return line + "}\n"
	}
	for name, c := range map[string]struct {
		entries []string
		want    time.Duration
	}{
		"nobody":       {nil, 720 * time.Hour},
		"the default":  {[]string{entry("a", "")}, 720 * time.Hour},
		"shorter":      {[]string{entry("a", "1h"), entry("b", "2h")}, 720 * time.Hour},
		"longer":       {[]string{entry("a", "1h"), entry("b", "2000h")}, 2000 * time.Hour},
		"one for ever": {[]string{entry("a", "1h"), entry("b", "0s"), entry("c", "")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "clients.yaml")
			if c.entries == nil {
				file = ""
			} else if err := os.WriteFile(file, []byte("clients:\n"+strings.Join(c.entries, "")), 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := clients.Open(file, defaults())
			if err != nil {
				t.Fatal(err)
			}
			if got := l.IdleLimit(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
