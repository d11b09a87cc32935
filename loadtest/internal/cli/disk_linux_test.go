package cli_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/revocast/revocast/loadtest/internal/cli"
	"github.com/revocast/revocast/loadtest/internal/report"
)

// smallDisk mounts a file system of so many bytes, which root may.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skipf("a file system of its own cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// run is a short run whose result goes to dir: its exit status and what it printed.
func run(t *testing.T, dir string) (status int, out, complaints string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(sidecar))
	t.Cleanup(s.Close)
	var stdout, stderr bytes.Buffer
	status = cli.Run(t.Context(), []string{"verify", "--url", s.URL + "/auth", "--rate", "200", "--warm-up", "0s", "--duration", "200ms", "--out", dir},
		cli.Streams{In: strings.NewReader("good"), Out: &stdout, Err: &stderr}, "v1")
	return status, stdout.String(), stderr.String()
}

// On a full disk the result is shown, and kept on another.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, "64k")
	f, err := os.Create(filepath.Join(disk, "filler"))
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if closed := f.Close(); closed != nil || !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err, closed)
	}
	t.Setenv("TMPDIR", t.TempDir())
	status, out, complaints := run(t, disk)
	if status != 1 || !strings.Contains(out, "forward-auth, 200/s: ") || !strings.Contains(complaints, "verify.json: ") || !strings.Contains(complaints, "no space left on device") {
		t.Errorf("%d, %s, %s", status, out, complaints)
	}
	instead := regexp.MustCompile(`the result is in (.*) instead`).FindStringSubmatch(complaints)
	if instead == nil {
		t.Fatalf("it does not say where the result is: %s", complaints)
	}
	if results, err := report.ReadDir(instead[1]); err != nil || len(results) != 1 {
		t.Errorf("%d results, %v", len(results), err)
	}
	if files, err := os.ReadDir(disk); err != nil || len(files) != 1 {
		t.Errorf("pieces are left: %v, %v", files, err)
	}
}

// Where there is room for the result but not for the page, it says how to make that.
func TestDiskAlmostFull(t *testing.T) {
	disk := smallDisk(t, "64k")
	status, out, complaints := run(t, disk)
	if status != 1 || !strings.Contains(out, "forward-auth, 200/s: ") || !strings.Contains(complaints, "report.html: ") || !strings.Contains(complaints, "loadtest report "+disk+" makes the page") {
		t.Errorf("%d, %s, %s", status, out, complaints)
	}
	if results, err := report.ReadDir(disk); err != nil || len(results) != 1 {
		t.Errorf("%d results, %v", len(results), err)
	}
}
