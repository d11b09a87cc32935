//go:build linux

package footprint

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/revocast/revocast/events/eventstest"
)

// wrote is what an issuer's log says when it has written a snapshot.
const wrote = "wrote a snapshot of the feed"

// writeSnapshot has an issuer write one, as every issuer does, and ends it. It gives the
// file with the public key that has signed it.
func writeSnapshot(t *testing.T, b broker) (root string) {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	build := exec.CommandContext(t.Context(), "go", "build", "-o", at("issuer"), "./cmd/issuer")
	build.Dir = "../../../../services"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the issuer: %v\n%s", err, out)
	}
	log, err := os.Create(at("log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // it is read, not written
	cmd := exec.CommandContext(t.Context(), at("issuer"),
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--metrics-listen", "",
		"--nats-url", b.URL, "--nats-creds", b.Issuer, "--realm", string(eventstest.Realm),
		"--keys-dir", at("keys"), "--data-dir", at("data"), "--snapshot-interval", "1s",
	)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	says := func() []byte {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for late := time.Now().Add(patience); !bytes.Contains(says(), []byte(wrote)); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(late) {
			_ = cmd.Process.Kill() // the test fails anyway
			_ = cmd.Wait()
			t.Fatalf("no snapshot after %v; the issuer says:\n%s", patience, says())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the issuer ended: %v\n%s", err, says())
	}
	return filepath.Join(dir, "keys", "realm-root.pub")
}
