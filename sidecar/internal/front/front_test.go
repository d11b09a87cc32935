package front_test

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
)

var update = flag.Bool("update", false, "rewrite the answers in fronttest/testdata")

// direct asks the checker without any front before it: what all others must give.
func direct(_ *testing.T, check *front.Checker) fronttest.Do {
	return func(t *testing.T, r fronttest.Request) fronttest.Response {
		t.Helper()
		answer := check.Check(t.Context(), front.Request{
			Method: r.Method, Host: r.Host, Target: r.Target, Authorization: r.Header["Authorization"],
		})
		given := fronttest.Response{Status: answer.Decision.Status(), Header: http.Header{}}
		for _, f := range append(answer.Refusal(), answer.Fresh()) {
			given.Header.Set(f.Name, f.Value)
		}
		if answer.Allowed() {
			given.Application = http.Header{}
			for _, f := range answer.Identity() {
				given.Application.Set(f.Name, f.Value)
			}
		}
		return given
	}
}

func TestScripts(t *testing.T) {
	if *update {
		for name, text := range fronttest.Scripts(t) {
			after := fronttest.Play(t, text, direct)
			if err := os.WriteFile(filepath.Join("fronttest", "testdata", name), []byte(after), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	fronttest.Run(t, direct)
}
