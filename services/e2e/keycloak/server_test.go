package keycloak

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// The administrator whom Keycloak makes when it starts for the first time.
const (
	adminName     = "admin"
	adminPassword = "for-this-test-alone"
)

// server is a Keycloak that runs, with a database of its own.
type server struct {
	stack.Process

	url string
}

// startKeycloak starts one with the realms of the given files, by the files' names; env
// is what these refer to.
//
// Java is run directly, as kc.sh does it: that is a shell whose child it would be, and
// which takes it along only when it is asked to end.
func startKeycloak(t *testing.T, realms map[string]string, env ...string) *server {
	t.Helper()
	program := os.Getenv(home)
	if program == "" {
		t.Skipf("without Keycloak: `make keycloak` fetches it, sets %s and runs this", home)
	}
	dir := t.TempDir()
	for _, name := range []string{"conf", "lib", "providers", "themes", "version.txt"} {
		if err := os.Symlink(filepath.Join(program, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "data", "import"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range realms {
		if err := os.WriteFile(filepath.Join(dir, "data", "import", name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ports, err := stack.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := "http://127.0.0.1:" + strconv.Itoa(ports[0])
	s := &server{url: address, Process: stack.Process{
		Name: "keycloak", Path: java(t), Dir: dir, Log: filepath.Join(dir, "keycloak.log"),
		Env: append([]string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + dir,
			"KC_BOOTSTRAP_ADMIN_USERNAME=" + adminName, "KC_BOOTSTRAP_ADMIN_PASSWORD=" + adminPassword,
		}, env...),
		Args: []string{
			"-Xms64m", "-Xmx512m", "-XX:MaxMetaspaceSize=256m", "-XX:+ExitOnOutOfMemoryError", "-XX:TieredStopAtLevel=1",
			"-Dfile.encoding=UTF-8", "-Duser.language=en", "-Djava.io.tmpdir=" + dir,
			"--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
			"--add-opens=java.base/java.security=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED", "--enable-native-access=ALL-UNNAMED",
			"-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
			"-Djava.util.logging.manager=org.jboss.logmanager.LogManager", "-Dpicocli.disable.closures=true",
			"-Dkc.home.dir=" + dir, "-Djboss.server.config.dir=" + filepath.Join(dir, "conf"),
			"-cp", filepath.Join(dir, "lib", "quarkus-run.jar"), "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
			"start", "--optimized", "--import-realm", "--cache=local", "--http-enabled=true", "--http-host=127.0.0.1", "--http-port=" + strconv.Itoa(ports[0]),
			"--hostname=" + address,
		},
	}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of Keycloak's log:\n%s", s.Tail(60))
		}
		if err := s.Kill(); err != nil { // Java calls every end by a signal a failure
			t.Error(err)
		}
	})
	began := time.Now()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Minute, "Keycloak's start", func() bool {
		if !s.Running() {
			t.Fatalf("Keycloak ended: %v", s.Err())
		}
		return send(t.Context(), plain(), http.MethodGet, s.url+"/realms/master/.well-known/openid-configuration", http.Header{}, "").status == http.StatusOK
	})
	t.Logf("Keycloak started in %.1f s", time.Since(began).Seconds())
	return s
}

// java is the program of that name: JAVA_HOME's, else the one in PATH.
func java(t *testing.T) string {
	t.Helper()
	name := "java"
	if dir := os.Getenv("JAVA_HOME"); dir != "" {
		name = filepath.Join(dir, "bin", name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// admin asks the admin API.
func (s *server) admin(t *testing.T, method, path string, body any) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	granted := send(ctx, plain(), http.MethodPost, s.url+"/realms/master/protocol/openid-connect/token", form(), url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {adminName}, "password": {adminPassword},
	}.Encode()).want(t, http.StatusOK)
	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(granted.body, &token); err != nil {
		t.Fatal(err)
	}
	header := bearer(token.Access)
	text := ""
	if body != nil {
		header.Set("Content-Type", "application/json")
		content, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(content)
	}
	a := send(ctx, plain(), method, s.url+"/admin/realms/"+path, header, text)
	if a.status/100 != 2 {
		t.Fatalf("%s %s: %s", method, path, a)
	}
	return a
}

// rotate has a realm sign with a new key of the algorithm; those before stay published.
func (s *server) rotate(t *testing.T, realm, algorithm string) {
	t.Helper()
	component := map[string]any{
		"name": "rotated", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
		"config": map[string][]string{"priority": {"1000"}, "keySize": {"2048"}, "algorithm": {algorithm}},
	}
	if algorithm == "ES256" {
		component["providerId"] = "ecdsa-generated"
		component["config"] = map[string][]string{"priority": {"1000"}, "ecdsaEllipticCurveKey": {"P-256"}}
	}
	s.admin(t, http.MethodPost, fmt.Sprintf("%s/components", realm), component)
}
