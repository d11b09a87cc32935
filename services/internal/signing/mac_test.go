package signing

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/services/internal/refresh"
)

func macKey(tb testing.TB, fill byte) (refresh.Key, macEntry) {
	tb.Helper()
	secret := bytes.Repeat([]byte{fill}, refresh.SecretSize)
	k, err := refresh.NewKey(secret)
	if err != nil {
		tb.Fatal(err)
	}
	return k, macEntry{ID: string(k.ID()), Secret: base64.RawURLEncoding.EncodeToString(secret)}
}

func macJSON(tb testing.TB, current string, entries ...macEntry) []byte {
	tb.Helper()
	b, err := json.Marshal(macFile{Current: current, Keys: entries})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestReload(t *testing.T) {
	dir := filled(t)
	k := open(t, config(dir))
	old := k.RefreshKey()
	var file macFile
	text, err := os.ReadFile(filepath.Join(dir, fileRefresh))
	if err != nil || json.Unmarshal(text, &file) != nil {
		t.Fatal(err)
	}
	next, entry := macKey(t, 7)

	// Distributed first, current later.
	put(t, dir, fileRefresh, macJSON(t, string(old.ID()), file.Keys[0], entry))
	if err := k.Reload(); err != nil || k.RefreshKey().ID() != old.ID() {
		t.Fatalf("the current key is %s, %v", k.RefreshKey(), err)
	}
	if got, err := k.RefreshKeyByID(next.ID()); err != nil || got.ID() != next.ID() {
		t.Errorf("the new key: %v, %v", got, err)
	}
	put(t, dir, fileRefresh, macJSON(t, string(next.ID()), entry, file.Keys[0]))
	if err := k.Reload(); err != nil || k.RefreshKey().ID() != next.ID() {
		t.Fatalf("the current key is %s, %v", k.RefreshKey(), err)
	}
	if got, err := k.RefreshKeyByID(old.ID()); err != nil || got.ID() != old.ID() {
		t.Errorf("the old key: %v, %v", got, err)
	}

	// What cannot be read changes nothing.
	put(t, dir, fileRefresh, []byte(`{"current":`))
	if err := k.Reload(); err == nil || k.RefreshKey().ID() != next.ID() {
		t.Errorf("after a broken file: %s, %v", k.RefreshKey(), err)
	}
	put(t, dir, fileRefresh, macJSON(t, string(old.ID()), file.Keys[0]))
	if err := os.Chmod(filepath.Join(dir, fileRefresh), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := k.Reload(); !errors.Is(err, errShared) || k.RefreshKey().ID() != next.ID() {
		t.Errorf("after a shared file: %s, %v", k.RefreshKey(), err)
	}
}

// An unknown id makes us look, once in a while and no more, however many ask.
func TestUnknownKeyLooksOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filled(t)
		k := open(t, config(dir))
		old := k.RefreshKey()
		var file macFile
		text, err := os.ReadFile(filepath.Join(dir, fileRefresh))
		if err != nil || json.Unmarshal(text, &file) != nil {
			t.Fatal(err)
		}
		first, firstEntry := macKey(t, 1)
		second, secondEntry := macKey(t, 2)

		put(t, dir, fileRefresh, macJSON(t, string(old.ID()), file.Keys[0], firstEntry))
		if _, err := k.RefreshKeyByID(first.ID()); err != nil {
			t.Fatalf("a key that lies ready: %v", err)
		}
		put(t, dir, fileRefresh, macJSON(t, string(old.ID()), file.Keys[0], firstEntry, secondEntry))
		if _, err := k.RefreshKeyByID(second.ID()); !errors.Is(err, ErrUnknownKey) {
			t.Fatalf("a moment later: %v", err)
		}
		time.Sleep(lookEvery - 1)
		if _, err := k.RefreshKeyByID(second.ID()); !errors.Is(err, ErrUnknownKey) {
			t.Fatalf("just before it is time: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := k.RefreshKeyByID(second.ID()); err != nil {
			t.Fatalf("when it is time: %v", err)
		}

		if err := os.Remove(filepath.Join(dir, fileRefresh)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery)
		if _, err := k.RefreshKeyByID("AAAAAAAAAAA"); !errors.Is(err, ErrUnknownKey) || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("with the file gone: %v", err)
		}
		if _, err := k.RefreshKeyByID(second.ID()); err != nil {
			t.Errorf("what was known: %v", err)
		}
	})
}

func TestConcurrentLooks(t *testing.T) {
	dir := filled(t)
	k := open(t, config(dir))
	old := k.RefreshKey()
	var file macFile
	text, err := os.ReadFile(filepath.Join(dir, fileRefresh))
	if err != nil || json.Unmarshal(text, &file) != nil {
		t.Fatal(err)
	}
	next, entry := macKey(t, 3)
	put(t, dir, fileRefresh, macJSON(t, string(old.ID()), file.Keys[0], entry))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := k.RefreshKeyByID(next.ID()); err != nil || got.ID() != next.ID() {
				t.Errorf("got %v, %v", got, err)
			}
			if _, err := k.Sign(access(t)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestMACFileIsReadStrictly(t *testing.T) {
	a, entryA := macKey(t, 1)
	_, entryB := macKey(t, 2)
	id := string(a.ID())
	if _, err := parseMACKeys(macJSON(t, id, entryA, entryB)); err != nil {
		t.Fatalf("the pattern itself is refused: %v", err)
	}
	many := make([]macEntry, 0, maxMACKeys+1)
	for i := range maxMACKeys + 1 {
		_, e := macKey(t, byte(i+1))
		many = append(many, e)
	}
	for name, data := range map[string][]byte{
		"empty":               nil,
		"null":                []byte(`null`),
		"no keys":             macJSON(t, id),
		"no current":          macJSON(t, "", entryA),
		"current is missing":  macJSON(t, id, entryB),
		"a key twice":         macJSON(t, id, entryA, entryA),
		"another key's id":    macJSON(t, id, entryA, macEntry{ID: entryA.ID, Secret: entryB.Secret}),
		"no id":               macJSON(t, id, entryA, macEntry{Secret: entryB.Secret}),
		"short secret":        macJSON(t, id, entryA, macEntry{ID: "x", Secret: "AAAA"}),
		"padded secret":       macJSON(t, id, macEntry{ID: id, Secret: entryA.Secret + "="}),
		"secret, spare bits":  macJSON(t, id, macEntry{ID: id, Secret: entryA.Secret[:42] + "F"}),
		"too many":            macJSON(t, many[0].ID, many...),
		"unknown member":      []byte(`{"current":"` + id + `","keys":[],"retired":[]}`),
		"member twice":        []byte(`{"current":"x","current":"` + id + `","keys":[{"id":"` + id + `","secret":"` + entryA.Secret + `"}]}`),
		"member, other case":  []byte(`{"Current":"` + id + `","keys":[{"id":"` + id + `","secret":"` + entryA.Secret + `"}]}`),
		"text behind":         append(macJSON(t, id, entryA), 'x'),
		"secret in the wrong": []byte(`{"current":["` + entryA.Secret + `"]}`),
	} {
		t.Run(name, func(t *testing.T) {
			set, err := parseMACKeys(data)
			if err == nil || set != nil {
				t.Fatalf("accepted: %v", err)
			}
			if strings.Contains(err.Error(), entryA.Secret[:10]) || strings.Contains(err.Error(), entryB.Secret[:10]) {
				t.Errorf("%q shows a secret", err)
			}
		})
	}
	if set, err := parseMACKeys(macJSON(t, id, entryA)); err != nil || strings.Contains(fmt.Sprintf("%+v", *set), entryA.Secret) {
		t.Errorf("one key alone: %v", err)
	}
}
