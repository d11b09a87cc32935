package e2e

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/revocast/revocast/services/stack"
)

// INV-6, R7: after a full run, nothing that could be replayed lies in journal,
// feed, audit, Badger or logs, raw, base64, hex or compressed.
func TestNoCredentialAtRest(t *testing.T) {
	found, searched := plant(t, bin)
	for _, f := range found {
		t.Error(f)
	}
	t.Logf("searched %d bytes of files and metrics", searched)
	if searched < 100_000 {
		t.Error("that is too little to be a full run")
	}
}

// The search is worth something: an issuer changed to log the password is caught.
func TestCanarySearchCatchesAMutation(t *testing.T) {
	dir := t.TempDir()
	original, err := filepath.Abs("../internal/account/account.go")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	const place = "	client, ok := a.Clients.Find(events.ClientID(in.ClientID))\n"
	mutated := strings.Replace(string(source), place, "	a.Log.Info(\"login\", zap.Any(\"request\", in))\n"+place, 1)
	if mutated == string(source) {
		t.Fatal("the place to mutate is gone")
	}
	changed := filepath.Join(dir, "account.go")
	overlay := filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{changed: []byte(mutated), overlay: replace} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bad := filepath.Join(dir, "bin")
	if err := os.Mkdir(bad, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", filepath.Join(bad, "issuer"), "./cmd/issuer")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the mutation: %v\n%s", err, out)
	}
	if err := os.Symlink(filepath.Join(bin, "sidecar"), filepath.Join(bad, "sidecar")); err != nil {
		t.Fatal(err)
	}
	found, _ := plant(t, bad)
	if len(found) == 0 {
		t.Fatal("a password in the log was not found")
	}
	t.Logf("caught: %s", found[0])
}

// plant runs the story with known secrets and searches all that was written.
func plant(t *testing.T, binaries string) (found []string, searched int) {
	t.Helper()
	s := start(t, 2, func(c *stack.Config) {
		c.BinDir = binaries
		c.IssuerFlags = []string{"--log-level", "debug"}
		c.SidecarFlags = []string{"--log-level", "debug"}
	})
	secret := base64.RawURLEncoding.EncodeToString([]byte("canary: the device's own secret"))
	canaries := map[string]string{
		"password": stack.AlicePassword, "password of another user": stack.BobPassword, "device secret": secret,
		"new password": "canary-through-the-looking-glass",
	}
	keep := func(what string, got tokens) tokens {
		canaries["access token, "+what], canaries["refresh token, "+what] = got.Access, got.Refresh
		canaries["signature of "+what] = got.Access[strings.LastIndexByte(got.Access, '.')+1:]
		canaries["MAC of "+what] = got.Refresh[strings.LastIndexByte(got.Refresh, '.')+1:]
		return got
	}
	proof := url.Values{"device_secret": {secret}}
	first := keep("login", login(t, s.Issuer(), map[string]string{"device_secret": secret, "device_name": "phone"}))
	second := keep("refresh", refresh(t, s.Issuer(), first.Refresh, proof).tokens(t))
	refresh(t, s.Issuer(), first.Refresh, proof)
	refresh(t, s.Issuer(), first.Refresh, nil)
	other := keep("other login", login(t, s.Issuer(), nil))
	for _, sidecar := range s.Sidecars() {
		passes(t, sidecar, second.Access)
		auth(t, sidecar, second.Access[:len(second.Access)-2])
		auth(t, sidecar, second.Refresh)
	}
	login(t, s.Issuer(), map[string]string{"username": stack.Bob, "password": stack.BobPassword})
	do(t, http.MethodPost, s.Issuer().URL()+"/v1/login", "application/json", "",
		fmt.Sprintf(`{"username":%q,"password":%q,"client_id":%q}`, stack.Alice, canaries["new password"], stack.MobileClient))
	do(t, http.MethodPost, s.Issuer().URL()+"/oauth/revoke", "application/x-www-form-urlencoded", "",
		url.Values{"token": {other.Access}, "client_id": {stack.MobileClient}}.Encode())
	do(t, http.MethodPut, s.Issuer().URL()+"/v1/password", "application/json", second.Access,
		fmt.Sprintf(`{"current_password":%q,"new_password":%q}`, stack.AlicePassword, canaries["new password"]))
	if a := revoke(t, s, s.Issuer(), "session", first.Session); a.status != http.StatusCreated {
		t.Fatalf("revoking: %s", a)
	}
	everywhere(s, func(_ int, sidecar *stack.Server) { firstDenial(t, sidecar, second.Access, time.Now()) })

	operator, err := s.AdminToken()
	if err != nil {
		t.Fatal(err)
	}
	canaries["operator token"] = operator
	keys(t, s.Dir().Keys(), canaries)

	var pages [][]byte
	for _, sidecar := range s.Sidecars() {
		for _, path := range []string{"/metrics", "/v1/status"} {
			pages = append(pages, do(t, http.MethodGet, sidecar.AdminURL()+path, "", "", "").body)
		}
	}
	pages = append(pages, do(t, http.MethodGet, "http://"+metricsAddress(s.Issuer())+"/metrics", "", "", "").body)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	needles := spellings(canaries)
	look := func(where string, content []byte) {
		searched += len(content)
		for what, forms := range needles {
			for form, needle := range forms {
				if bytes.Contains(content, needle) {
					found = append(found, fmt.Sprintf("%s (%s) is in %s", what, form, where))
				}
			}
		}
	}
	for _, page := range pages {
		look("metrics or status", page)
	}
	root := filepath.Dir(s.Dir().Keys())
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if credentialFile(s.Dir(), path) {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		look(name, content)
		for _, inner := range unpack(content) {
			look("compressed inside "+name, inner)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, searched
}

// credentialFile names the files whose purpose is to hold a credential: keys,
// broker credentials, the operator's token, and the users file a human wrote.
func credentialFile(d stack.Dir, path string) bool {
	return strings.HasPrefix(path, d.Keys()) || strings.HasPrefix(path, d.Creds()) || path == d.AdminToken() || path == d.Users()
}

// keys adds every secret of the key directory: whole files' contents by line, and
// what PEM and JSON wrap.
func keys(t *testing.T, dir string, canaries map[string]string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".pub") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		if block, _ := pem.Decode(content); block != nil {
			canaries["key "+name] = string(block.Bytes)
			return nil
		}
		var secrets struct {
			Keys []struct {
				Secret string `json:"secret"`
			} `json:"keys"`
		}
		if json.Unmarshal(content, &secrets) == nil {
			for i, k := range secrets.Keys {
				canaries[fmt.Sprintf("key %s %d", name, i)] = k.Secret
			}
			return nil
		}
		for i, line := range strings.Fields(string(content)) {
			if len(line) >= 32 {
				canaries[fmt.Sprintf("key %s line %d", name, i)] = line
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// spellings gives the forms a secret could lie in. Of base64 all three alignments,
// less what their neighbours decide.
func spellings(canaries map[string]string) map[string]map[string][]byte {
	all := map[string]map[string][]byte{}
	for what, secret := range canaries {
		forms := map[string][]byte{"raw": []byte(secret)}
		raw := [][]byte{[]byte(secret)}
		if b, err := base64.RawURLEncoding.DecodeString(secret); err == nil && len(b) >= 16 {
			forms["decoded"] = b
			raw = append(raw, b)
		}
		for i, b := range raw {
			forms[fmt.Sprintf("hex %d", i)] = []byte(hex.EncodeToString(b))
			forms[fmt.Sprintf("HEX %d", i)] = bytes.ToUpper([]byte(hex.EncodeToString(b)))
			for shift := range 3 {
				padded := append(make([]byte, shift), b...)
				for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
					text := enc.EncodeToString(padded)
					cut := []int{0, 2, 3}[shift]
					end := len(text) - 1
					if end-cut >= 10 {
						forms[fmt.Sprintf("%s %d+%d", name, i, shift)] = []byte(text[cut:end])
					}
				}
			}
		}
		all[what] = forms
	}
	return all
}

// unpack tries every place that begins like a compressed stream.
func unpack(content []byte) (inner [][]byte) {
	const most = 1 << 20
	take := func(r io.Reader, err error) {
		if err != nil {
			return
		}
		b, _ := io.ReadAll(io.LimitReader(r, most)) // what it gives before it breaks counts
		if len(b) > 8 {
			inner = append(inner, b)
		}
	}
	for i := range content {
		rest := content[i:]
		switch {
		case bytes.HasPrefix(rest, []byte{0x1f, 0x8b, 8}):
			r, err := gzip.NewReader(bytes.NewReader(rest))
			take(r, err)
		case bytes.HasPrefix(rest, []byte{0x28, 0xb5, 0x2f, 0xfd}):
			if r, err := zstd.NewReader(bytes.NewReader(rest)); err == nil {
				take(r, nil)
				r.Close()
			}
		case bytes.HasPrefix(rest, []byte("\xff\x06\x00\x00")):
			take(s2.NewReader(bytes.NewReader(rest)), nil)
		case len(rest) > 2 && rest[0] == 0x78 && (int(rest[0])<<8|int(rest[1]))%31 == 0:
			r, err := zlib.NewReader(bytes.NewReader(rest))
			take(r, err)
		}
	}
	take(flate.NewReader(bytes.NewReader(content)), nil)
	return inner
}
