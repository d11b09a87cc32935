package sidecar_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestModules lists whose code the sidecar carries. A line more is a decision, and made
// in the same change: every pod pays for it, and everybody who audits it.
func TestModules(t *testing.T) {
	want := []string{
		"github.com/alecthomas/kong",
		"github.com/beorn7/perks",
		"github.com/cespare/xxhash/v2",
		"github.com/dgraph-io/badger/v4",
		"github.com/dgraph-io/ristretto/v2",
		"github.com/dustin/go-humanize",
		"github.com/go-logr/logr",
		"github.com/go-logr/stdr",
		"github.com/golang-jwt/jwt/v5",
		"github.com/google/flatbuffers",
		"github.com/google/uuid",
		"github.com/klauspost/compress",
		"github.com/maypok86/otter/v2",
		"github.com/munnerz/goautoneg",
		"github.com/nats-io/nats.go",
		"github.com/nats-io/nkeys",
		"github.com/nats-io/nuid",
		"github.com/prometheus/client_golang",
		"github.com/prometheus/client_model",
		"github.com/prometheus/common",
		"github.com/prometheus/procfs",
		"github.com/revocast/revocast/events",
		"github.com/revocast/revocast/sidecar",
		"go.opentelemetry.io/auto/sdk",
		"go.opentelemetry.io/otel",
		"go.opentelemetry.io/otel/metric",
		"go.opentelemetry.io/otel/trace",
		"go.uber.org/multierr",
		"go.uber.org/zap",
		"go.yaml.in/yaml/v3",
		"golang.org/x/crypto",
		"golang.org/x/net",
		"golang.org/x/sync",
		"golang.org/x/sys",
		"golang.org/x/text",
		"google.golang.org/genproto/googleapis/rpc",
		"google.golang.org/grpc",
		"google.golang.org/protobuf",
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/sidecar")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	got = slices.Compact(got)
	for _, m := range got {
		if !slices.Contains(want, m) {
			t.Errorf("%s is new", m)
		}
	}
	for _, m := range want {
		if !slices.Contains(got, m) {
			t.Errorf("%s is gone: take it off the list", m)
		}
	}
}

// TestBinary builds the sidecar as make build does: static, stripped, and no larger than
// what a pod may be asked to pull.
func TestBinary(t *testing.T) {
	const (
		most = 25_000_000 // bytes; 24.1 million when this was written, of which gRPC takes 2.4 and Envoy's types 3.2
		flag = "-trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'"
	)
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(makefile, []byte("CGO_ENABLED=0 go build "+flag)) {
		t.Fatalf("make build no longer builds with %s", flag)
	}
	path := filepath.Join(t.TempDir(), "sidecar")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=v1.2.3", "-o", path, "./cmd/sidecar")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() >= most {
		t.Errorf("%d bytes, want less than %d", info.Size(), most)
	}
	if runtime.GOOS != "linux" {
		return
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it is not static: it has %s", p.Type)
		}
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_SYMTAB || strings.HasPrefix(s.Name, ".debug") {
			t.Errorf("it is not stripped: it has %s", s.Name)
		}
	}
}
