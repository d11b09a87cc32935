//go:build unix

package provider_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/signals/provider"
)

// A pipe in the place of the keys is a fault like any other: nobody waits for its other
// end, and the issuer stops when it is told to.
func TestKeysInAPipeAreNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	keys, stop := readUntil(t, "issuer=https://id.example,audience=a,jwks="+path, provider.Pace{Timeout: 5 * time.Second})
	ended := make(chan error, 1)
	go func() {
		_, err := keys.Find(t.Context(), "k")
		stop()
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, provider.ErrUnavailable) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the keys are still waited for")
	}
	// Whatever waits nevertheless is let go of.
	if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
		_ = f.Close()
	}
}
