package natsauth_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/revocast/revocast/events/natsauth"
	"github.com/revocast/revocast/events/topology"
)

var options = topology.Options{Realm: "test"}

func load(t *testing.T, dir string) *natsauth.Authority {
	t.Helper()
	a, err := natsauth.LoadOrCreate(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ids are the public keys of an authority's accounts, by name.
func ids(t *testing.T, a *natsauth.Authority) map[string]string {
	t.Helper()
	accounts, err := a.Accounts()
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[string]string)
	for _, acc := range accounts {
		m[acc.Name] = acc.ID
	}
	return m
}

func TestAuthoritySurvivesRestarts(t *testing.T) {
	keys, creds := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "creds")
	first := load(t, keys)
	if err := first.WriteCredentials(creds); err != nil {
		t.Fatal(err)
	}
	before := read(t, creds)
	second := load(t, keys)
	if err := second.WriteCredentials(creds); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(ids(t, first)) != fmt.Sprint(ids(t, second)) {
		t.Error("accounts changed")
	}
	after := read(t, creds)
	if len(after) != len(topology.Roles()) {
		t.Errorf("%d credentials files", len(after))
	}
	for name, content := range before {
		if after[name] != content {
			t.Errorf("%s was replaced", name)
		}
	}
}

// read returns the files of a directory, and checks that only their owner can.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if entry.IsDir() {
			return nil
		}
		content, err := os.ReadFile(path)
		files[entry.Name()] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Processes that start at once on an empty directory agree.
func TestConcurrentStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var work sync.WaitGroup
	made := make([]*natsauth.Authority, 4)
	for i := range made {
		work.Go(func() {
			a, err := natsauth.LoadOrCreate(dir, options)
			if err != nil {
				t.Error(err)
			}
			made[i] = a
		})
	}
	work.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, a := range made[1:] {
		if fmt.Sprint(ids(t, a)) != fmt.Sprint(ids(t, made[0])) {
			t.Error("two authorities in one directory")
		}
	}
	for name := range read(t, dir) {
		if !strings.HasSuffix(name, ".nk") {
			t.Errorf("%s was left behind", name)
		}
	}
}

// A key file that is not as it was left is an error, never a new key.
func TestDamagedKeysAreRefused(t *testing.T) {
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(path string) error{
		"empty":         func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"cut short":     func(path string) error { return os.Truncate(path, 20) },
		"of other kind": func(path string) error { return os.WriteFile(path, seed, 0o600) },
		"readable":      func(path string) error { return os.Chmod(path, 0o640) },
		"huge":          func(path string) error { return os.Truncate(path, 1<<20) },
		"a directory": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			load(t, dir)
			path := filepath.Join(dir, "operator.nk")
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			_, err := natsauth.LoadOrCreate(dir, options)
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), string(seed)) {
				t.Error("the error holds a seed")
			}
		})
	}
}

// An account's key that was lost must come back from a backup: another would name
// another, empty account.
func TestLostKeysAreNotReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	load(t, dir)
	for name, content := range read(t, dir) {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		_, err := natsauth.LoadOrCreate(dir, options)
		if name == "operator.nk" {
			// Without it the directory counts as unfinished; the accounts stay.
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without %s: %v", name, err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Credentials of another authority, or damaged ones, are replaced: they would not work.
func TestForeignCredentialsAreReplaced(t *testing.T) {
	other, err := natsauth.Generate(options)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Credentials(topology.Sidecar)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"foreign": foreign, "garbage": []byte("x"), "empty": nil} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "sidecar.creds")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			a := load(t, t.TempDir())
			if err := a.WriteCredentials(dir); err != nil {
				t.Fatal(err)
			}
			now, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(now) == string(content) {
				t.Error("kept")
			}
		})
	}
}

// Users carry no permissions of their own: their account's scope decides.
func TestPermissionsAreTheAccounts(t *testing.T) {
	a, err := natsauth.Generate(options)
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := a.Accounts()
	if err != nil {
		t.Fatal(err)
	}
	scopes := make(map[string]*jwt.AccountClaims)
	for _, acc := range accounts {
		claims, err := jwt.DecodeAccountClaims(acc.JWT)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range claims.Exports {
			if !e.TokenReq {
				t.Errorf("%s exports %s to everybody", acc.Name, e.Subject)
			}
		}
		if held := claims.Limits.IsJSEnabled(); held != topology.Account(acc.Name).HasJetStream() {
			t.Errorf("%s has JetStream: %v", acc.Name, held)
		}
		scopes[acc.ID] = claims
	}
	for _, r := range topology.Roles() {
		file, err := a.Credentials(r)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.ParseDecoratedJWT(file)
		if err != nil {
			t.Fatal(err)
		}
		user, err := jwt.DecodeUserClaims(token)
		if err != nil {
			t.Fatal(err)
		}
		if !user.HasEmptyPermissions() {
			t.Errorf("%s: %+v", r, user.UserPermissionLimits)
		}
		scope, ok := scopes[user.IssuerAccount].SigningKeys.GetScope(user.Issuer)
		if !ok || scope == nil {
			t.Fatalf("%s is signed without a scope", r)
		}
		if err := scope.ValidateScopedSigner(user); err != nil {
			t.Error(err)
		}
	}
	if _, err := a.Credentials(topology.NoRole); err == nil {
		t.Error("nobody got credentials")
	}
}

// An authority printed by mistake gives nothing away.
func TestAuthorityDoesNotPrintSeeds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	a := load(t, dir)
	files := read(t, dir)
	if len(files) == 0 {
		t.Fatal("no seeds to look for")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(verb, a) + fmt.Sprintf(verb, struct{ A *natsauth.Authority }{a})
		for name, seed := range files {
			if strings.Contains(text, seed[:20]) {
				t.Errorf("%s prints %s", verb, name)
			}
		}
	}
}

// What a server is told names every account and no secret; what a leaf node is told names
// those of whoever connects there, and nothing leads out of them.
func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	a := load(t, dir)
	hub, err := a.Configuration()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.LeafConfiguration()
	if err != nil {
		t.Fatal(err)
	}
	seeds, err := filepath.Glob(filepath.Join(dir, "*.nk"))
	if err != nil || len(seeds) == 0 {
		t.Fatalf("%v, %v", seeds, err)
	}
	for _, path := range seeds {
		seed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(hub+leaf, strings.TrimSpace(string(seed))) {
			t.Errorf("the seed in %s is part of it", path)
		}
	}
	atLeaves := map[string]bool{"system": true, "sidecar": true, "subscriber": true}
	for name, id := range ids(t, a) {
		if !strings.Contains(hub, id) || strings.Contains(leaf, id+": \"ey") != atLeaves[name] {
			t.Errorf("account %s: at the hub %t, at a leaf node %t", name, strings.Contains(hub, id), strings.Contains(leaf, id))
		}
	}
	accounts, err := a.LeafAccounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range accounts {
		claims, err := jwt.DecodeAccountClaims(account.JWT)
		if err != nil || len(claims.Imports)+len(claims.Exports) != 0 {
			t.Errorf("account %s leads elsewhere: %v, %v", account.Name, claims, err)
		}
	}
}
