package config_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/natsconn"
	"github.com/revocast/revocast/sidecar/internal/config"
)

const trust = "issuer=https://id.example,audience=https://api.example"

// exited is how kong's exit ends a parse in a test.
type exited int

func parse(t *testing.T, args ...string) (c config.Config, out string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	defer func() {
		if code, is := recover().(exited); is && code != 0 {
			t.Errorf("exit status %d: %s", code, stderr.String())
		}
		out = stdout.String()
	}()
	c, err = config.Parse(args, "v1.2.3", func(code int) { panic(exited(code)) }, &stdout, &stderr)
	return c, stdout.String(), err
}

func TestDefaults(t *testing.T) {
	c, _, err := parse(t, "--nats-creds", "x.creds", "--trust", trust)
	if err != nil {
		t.Fatal(err)
	}
	if c.Command != config.CommandRun || c.Listen != "127.0.0.1:9470" || c.GRPCListen != "127.0.0.1:9471" || c.AdminListen != "127.0.0.1:9472" || c.MetricsListen != "" ||
		c.CacheBytes != 64<<20 || c.BudgetBytes != 0 || c.Mode != 0o660 || c.StaleAfter != 30*time.Second || c.WhenStale != "allow" ||
		c.StaleLimit != 15*time.Minute || !c.Enforce || c.Leeway != 5*time.Second || c.ID == "" || len(c.Trusts) != 1 || c.Root != nil {
		t.Errorf("got %+v", c)
	}
	if c.MemoryLimit() != 0 {
		t.Errorf("a memory limit of %d without a budget", c.MemoryLimit())
	}
}

// Every fault is told at once, each with its flag.
func TestFaults(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(bad, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := parse(t, "--realm", "a.b", "--trust", "issuer=ftp://x", "--realm-root", bad, "--cache-size", "64MB", "--memory-budget", "lots",
		"--socket-mode", "999", "--id", "a b", "--listen", "nowhere", "--grpc-listen", "unix:", "--admin-listen", "", "--metrics-listen", "unix:", "--leeway", "2m",
		"--stale-after", "1s", "--stale-limit", "0s", "--require-scope", `a"b`, "--nats-url", "nats://a,nats://user:hush@b", "--nats-ca", bad, "--nats-cert", bad)
	if err == nil {
		t.Fatal("it passes")
	}
	for _, flag := range []string{
		"realm", "nats-creds", "trust", "realm-root", "cache-size", "memory-budget", "socket-mode", "id", "listen", "grpc-listen", "admin-listen",
		"metrics-listen", "leeway", "stale-after", "nats-url",
	} {
		if !strings.Contains(err.Error(), "--"+flag+": ") {
			t.Errorf("--%s is not among the faults:\n%v", flag, err)
		}
	}
	for _, text := range []string{
		"stale-limit", `a\"b`, "server 2: a user, password or token", "--nats-ca " + bad + ": holds no certificate", "--nats-cert " + bad + ": needs its key",
	} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s is not among the faults:\n%v", text, err)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Errorf("a password is shown:\n%v", err)
	}
	_, _, err = parse(t, "--nats-creds", "x")
	if err == nil || !strings.Contains(err.Error(), "--trust: needed") {
		t.Errorf("nobody trusted: %v", err)
	}
	_, _, err = parse(t, "--nats-creds", "x", "--trust", trust, "--trust", trust+",alg=ES256")
	if err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("one issuer, two rules: %v", err)
	}
}

// The files that secure the connection to the broker may come from the command line,
// the environment and the file, like all else.
func TestBrokerFiles(t *testing.T) {
	ca := eventstest.NewCA(t, "ours")
	cert, key := ca.Client(t, 2)
	file := filepath.Join(t.TempDir(), "sidecar.yaml")
	if err := os.WriteFile(file, []byte("nats-creds: x\nnats-ca: "+ca.File+"\nnats-cert: /nowhere\nnats-url: tls://a,tls://b:4223\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REVOCAST_NATS_CERT", cert)
	c, _, err := parse(t, "--config", file, "--trust", trust, "--nats-key", key)
	if want := (natsconn.Files{CA: ca.File, Cert: cert, Key: key}); err != nil || c.NATSFiles() != want || c.NATSURL != "tls://a,tls://b:4223" {
		t.Errorf("%+v, want %+v; %s; %v", c.NATSFiles(), want, c.NATSURL, err)
	}
	// What is set to nothing, as templates do, is not set.
	for _, name := range []string{"NATS_CA", "NATS_CERT", "NATS_KEY", "REALM_ROOT", "DATA_DIR"} {
		t.Setenv("REVOCAST_"+name, "")
	}
	c, _, err = parse(t, "--nats-creds", "~/x", "--trust", trust)
	if err != nil || c.NATSFiles() != (natsconn.Files{}) || c.RealmRoot != "" || filepath.Base(c.DataDir) != "sidecar-data" || !filepath.IsAbs(c.NATSCreds) {
		t.Errorf("set to nothing: %+v, %v", c, err)
	}
	if _, _, err = parse(t, "--nats-creds", "", "--trust", trust); err == nil || !strings.Contains(err.Error(), "--nats-creds: needed") {
		t.Errorf("credentials set to nothing: %v", err)
	}
}

// A budget has room for the cache, and bounds Go's memory unless the environment does.
func TestBudget(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	c, _, err := parse(t, "--nats-creds", "x", "--trust", trust, "--memory-budget", "256MiB")
	if err != nil || c.BudgetBytes != 256<<20 || c.MemoryLimit() != (256+64+64)<<20 {
		t.Errorf("%v, %d bytes, limit %d", err, c.BudgetBytes, c.MemoryLimit())
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	if c.MemoryLimit() != 0 {
		t.Errorf("GOMEMLIMIT is overruled by %d", c.MemoryLimit())
	}
	_, _, err = parse(t, "--nats-creds", "x", "--trust", trust, "--memory-budget", "64MiB")
	if err == nil || !strings.Contains(err.Error(), "--memory-budget: 64MiB: want at least --cache-size") {
		t.Errorf("all for the cache: %v", err)
	}
}

// A look at the disk needs no trust.
func TestFsck(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := parse(t, "fsck", "--nats-creds", "x", "--realm-root", root)
	if err != nil || c.Command != config.CommandFsck || !c.Root.Equal(public) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, _, err := parse(t, "fcsk"); err == nil {
		t.Error("a misspelt command passes")
	}
}

// Flags come before the environment, and that before the file, in which a misspelt name
// is a fault.
func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sidecar.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("nats-creds: from-file\nstale-after: 40s\nstale-limit: 1h\nleeway: 1s\ntrust:\n  - " + trust + "\n")
	t.Setenv("REVOCAST_STALE_LIMIT", "2h")
	t.Setenv("REVOCAST_LEEWAY", "2s")
	c, _, err := parse(t, "--config", file, "--leeway", "3s")
	if err != nil || c.StaleAfter != 40*time.Second || c.StaleLimit != 2*time.Hour || c.Leeway != 3*time.Second || len(c.Trusts) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	write("nats-creds: x\nstale-affter: 40s\n")
	if _, _, err := parse(t, "--config", file, "--trust", trust); err == nil || !strings.Contains(err.Error(), "stale-affter") {
		t.Errorf("misspelt: %v", err)
	}
}

// Help shows every flag in its group.
func TestHelp(t *testing.T) {
	_, out, _ := parse(t, "--help")
	for _, heading := range []string{"Listeners:", "Feed:", "Tokens:", "Memory:", "When the view is stale:", "Logging:", "Commands:", "fsck"} {
		if !strings.Contains(out, heading) {
			t.Errorf("no %q in:\n%s", heading, out)
		}
	}
	_, flags, _ := strings.Cut(out, "Flags:")
	general, _, _ := strings.Cut(flags, "Listeners:")
	if n := strings.Count(general, "\n  -"); n > 3 {
		t.Errorf("%d flags are in no group:\n%s", n, general)
	}
}
