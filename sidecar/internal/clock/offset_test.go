//go:build clockoffset

package clock_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/clock"
)

// The clock of a running process can be set, and set right again.
func TestJumps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "offset")
	t.Setenv("REVOCAST_CLOCK_OFFSET_FILE", file)
	for _, text := range []string{"", "90s\n", "-1h", "nonsense"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		want, _ := time.ParseDuration(map[string]string{"90s\n": "90s", "-1h": "-1h"}[text])
		deadline := time.Now().Add(10 * time.Second)
		for off := time.Duration(1 << 62); (off - want).Abs() > 5*time.Second; off = clock.Now().Sub(time.Now()) {
			if time.Now().After(deadline) {
				t.Fatalf("%q: off by %s", text, off)
			}
		}
	}
}
