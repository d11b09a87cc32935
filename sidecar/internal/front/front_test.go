package front_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
)

var update = flag.Bool("update", false, "rewrite the answers in fronttest/testdata")

func TestScripts(t *testing.T) {
	if *update {
		for name, text := range fronttest.Scripts(t) {
			after := fronttest.Play(t, text, fronttest.Direct)
			if err := os.WriteFile(filepath.Join("fronttest", "testdata", name), []byte(after), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	fronttest.Run(t, fronttest.Direct)
}
