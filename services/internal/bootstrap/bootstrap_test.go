package bootstrap_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/revocast/revocast/services/internal/bootstrap"
)

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "users.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const phc = "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestLoad(t *testing.T) {
	users, err := bootstrap.Load(write(t, "users:\n  - username: alice\n    password: wonderland-42\n    roles: [admin, reader]\n  - username: bob\n    password_hash: "+phc+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(users) != 2 || users[0].Username != "alice" || string(users[0].Password) != "wonderland-42" ||
		!slices.Equal(users[0].Roles, []string{"admin", "reader"}) || users[1].PasswordHash != phc || users[1].Password != "" {
		t.Errorf("got %+v", users)
	}
	if users, err := bootstrap.Load(write(t, "users: []\n")); err != nil || len(users) != 0 {
		t.Errorf("no users: %v, %v", users, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	const canary = "hunter2canary"
	for name, c := range map[string]struct{ text, want string }{
		"empty":                    {"", "empty"},
		"unknown field":            {"users:\n  - username: a\n    passwort: " + canary + "\n", "unknown field"},
		"no username":              {"users:\n  - password: " + canary + "\n", "username"},
		"username with a tab":      {"users:\n  - username: \"a\\tb\"\n    password: " + canary + "\n", "username"},
		"username, space at end":   {"users:\n  - username: 'a '\n    password: " + canary + "\n", "username"},
		"username with zero width": {"users:\n  - username: \"a\\u200bb\"\n    password: " + canary + "\n", "username"},
		"long username":            {"users:\n  - username: " + strings.Repeat("x", 129) + "\n    password: " + canary + "\n", "username"},
		"same user twice":          {"users:\n  - {username: a, password: " + canary + "}\n  - {username: a, password: x}\n", "earlier user"},
		"no password":              {"users:\n  - username: a\n", "want one of them"},
		"both":                     {"users:\n  - username: a\n    password: " + canary + "\n    password_hash: " + phc + "\n", "want one of them"},
		"long password":            {"users:\n  - username: a\n    password: " + strings.Repeat(canary, 100) + "\n", "longer than"},
		"plain text as the hash":   {"users:\n  - username: a\n    password_hash: " + canary + "\n", "password_hash"},
		"role with a comma":        {"users:\n  - {username: a, password: x, roles: ['a,b']}\n", "roles"},
		"empty role":               {"users:\n  - {username: a, password: x, roles: ['']}\n", "roles"},
		"role twice":               {"users:\n  - {username: a, password: x, roles: [r, r]}\n", "twice"},
		"many roles":               {"users:\n  - {username: a, password: x, roles: [" + strings.Repeat("r,", 65) + "]}\n", "at most 64"},
		"roles no list":            {"users:\n  - {username: a, password: x, roles: " + canary + "}\n", "wrong type"},
		"many users":               {"users:\n" + strings.Repeat("  - {}\n", 10_001), "at most 10000"},
		"several faults, the last": {"users:\n  - {}\n  - {username: b, password_hash: " + canary + "}\n", "user 2: password_hash"},
	} {
		t.Run(name, func(t *testing.T) {
			users, err := bootstrap.Load(write(t, c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "users.yaml") || users != nil {
				t.Fatalf("got %v and %d users, want it to say %q", err, len(users), c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q repeats the file", err)
			}
		})
	}
	if _, err := bootstrap.Load(filepath.Join(t.TempDir(), "none.yaml")); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}

func TestPasswordsDoNotPrint(t *testing.T) {
	u := bootstrap.User{Username: "alice", Password: "wonderland-42"}
	var out strings.Builder
	for _, v := range []any{u, &u, u.Password, []bootstrap.User{u}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			_, _ = fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zap.DebugLevel))
	log.Info("x", zap.Any("u", u), zap.Reflect("v", u), zap.Any("p", u.Password), zap.Stringer("q", u.Password))
	for _, canary := range []string{"wonderland", fmt.Sprintf("%x", "wonderland")} {
		if strings.Contains(out.String(), canary) {
			t.Errorf("%s shows", canary)
		}
	}
	if !strings.Contains(out.String(), "[password]") || !strings.Contains(out.String(), "alice") {
		t.Error("nothing was printed")
	}
}
