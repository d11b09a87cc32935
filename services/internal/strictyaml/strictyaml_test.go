package strictyaml_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/strictyaml"
)

type file struct {
	Users []struct {
		Username string        `yaml:"username"`
		Password string        `yaml:"password"`
		Roles    []string      `yaml:"roles"`
		Admin    bool          `yaml:"admin"`
		TTL      time.Duration `yaml:"ttl"`
	} `yaml:"users"`
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRead(t *testing.T) {
	var f file
	err := strictyaml.Read(write(t, "# users\nusers:\n  - username: alice\n    password: wonderland-42\n    roles: [a, b]\n    ttl: 5m\n"), &f)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Users) != 1 || f.Users[0].Username != "alice" || len(f.Users[0].Roles) != 2 || f.Users[0].TTL != 5*time.Minute {
		t.Errorf("read %+v", f)
	}
}

func TestReadRefuses(t *testing.T) {
	const canary = "hunter2canary"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing":          {"", []string{"empty"}},
		"only a comment":   {"# x\n", []string{"empty"}},
		"unknown field":    {"users:\n  - " + canary + ": x\n", []string{"line 2: unknown field"}},
		"field twice":      {"users: []\nusers: []\n", []string{"line 2: field given twice"}},
		"wrong type":       {"users:\n  - username: [" + canary + "]\n", []string{"line 2: wrong type"}},
		"value of a bool":  {"users:\n  - admin: " + canary + "\n", []string{"line 2: wrong type"}},
		"not a duration":   {"users:\n  - ttl: " + canary + "\n", []string{"line 2: wrong type"}},
		"an alias to none": {"users:\n  - password: *" + canary + "\n", []string{"not valid YAML"}},
		"tab":              {"users:\n\t- " + canary + "\n", []string{"line 2: not valid YAML"}},
		"not UTF-8":        {"users: \xff\xfe\n", []string{"not valid YAML"}},
		"open quote":       {"users:\n  - password: \"" + canary + "\n", []string{"not valid YAML"}},
		"a list":           {"- " + canary + "\n", []string{"line 1: wrong type"}},
		"two documents":    {"users: []\n---\nusers: []\n", []string{"more than one document"}},
		"junk behind":      {"users: []\n--- \n" + canary + ": [\n", []string{"more than one document"}},
		"too large":        {"# " + strings.Repeat("x", strictyaml.MaxSize), []string{"larger than"}},
		"all at once":      {"users:\n  - x: 1\n    admin: 7\n  - y: 1\n", []string{"line 2: unknown field", "line 3: wrong type", "line 4: unknown field"}},
		"billion laughs":   {laughs(), []string{"line 2: wrong type", "line 26: wrong type"}},
	} {
		t.Run(name, func(t *testing.T) {
			var f file
			err := strictyaml.Read(write(t, c.text), &f)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "hunter") {
				t.Errorf("%q repeats the file", err)
			}
			if !strings.Contains(err.Error(), "f.yaml") {
				t.Errorf("%q does not name the file", err)
			}
		})
	}
}

func TestReportsAreBounded(t *testing.T) {
	err := strictyaml.Decode([]byte("users:\n"+strings.Repeat("  - x: 1\n", 10_000)), &file{})
	if err == nil || strings.Count(err.Error(), "\n") != 50 || !strings.HasSuffix(err.Error(), "and more") {
		t.Errorf("%d lines", strings.Count(err.Error(), "\n"))
	}
}

// laughs is a list that doubles twenty-five times by aliases.
func laughs() string {
	var b strings.Builder
	b.WriteString("users:\n  - roles: &a0 [x, x]\n")
	for i := range 25 {
		n, m := string(rune('a'+i)), string(rune('b'+i))
		prev := n + "0"
		b.WriteString("  - roles: &" + m + "0 [*" + prev + ", *" + prev + "]\n")
	}
	return b.String()
}

func TestReadAbsent(t *testing.T) {
	if err := strictyaml.Read(filepath.Join(t.TempDir(), "none.yaml"), &file{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := strictyaml.Read(t.TempDir(), &file{}); err == nil {
		t.Error("a directory was read")
	}
}
