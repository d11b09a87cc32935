package route_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/route"
)

func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRead(t *testing.T) {
	rules, err := route.Read(write(t, `
- match: ["GET /health", /public/]
  anonymous: true
- match: [POST /payments/]
  scopes: [payments:write]
  roles: [clerk]
  any-role: [head, deputy]
  audience: [https://payments.example]
  acr: [urn:example:two-factors]
  max-age: 5m
  max-stale: 10s
`))
	if err != nil || len(rules) != 2 || !rules[0].Anonymous || len(rules[0].Match) != 2 {
		t.Fatalf("%+v, %v", rules, err)
	}
	a := rules[1].Ask
	if a.Scopes[0] != "payments:write" || a.Roles[0] != "clerk" || len(a.AnyRole) != 2 || a.Audiences[0] != "https://payments.example" ||
		a.ACR[0] != "urn:example:two-factors" || a.MaxAge.Minutes() != 5 || a.MaxStale.Seconds() != 10 {
		t.Errorf("%+v", a)
	}
}

func TestReadRefuses(t *testing.T) {
	for content, want := range map[string]string{
		"":                                    "no rules",
		"[]":                                  "no rules",
		"match: [/]":                          "cannot unmarshal",
		"- match: [/]\n  scope: [read]":       "scope not found",
		"- match: [/]\n  match: [/x]":         "already defined",
		"- match: [/]\n  max-age: soon":       "cannot unmarshal",
		"- match: [/]\n  max-age: 1500ms":     "whole seconds",
		"- scopes: [read]":                    "match: needed",
		"- match: [/]\n---\n- match: [/x]":    "more than one document",
		"- match: [/]\n- match: [/]":          "rule 2",
		"# " + strings.Repeat("a", 1<<20):     "larger than",
		"- match: [/]\n  scopes: [\"a\\nb\"]": "scope",
	} {
		if rules, err := route.Read(write(t, content)); err == nil || rules != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", content, err, want)
		}
	}
	if _, err := route.Read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there")
	}
}
