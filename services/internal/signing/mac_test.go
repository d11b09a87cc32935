package signing

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

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

// A file may hold older keys besides the current one, and all of them verify.
func TestMACFile(t *testing.T) {
	dir := filled(t)
	current, entry := macKey(t, 7)
	older, olderEntry := macKey(t, 8)
	put(t, dir, fileRefresh, macJSON(t, string(current.ID()), olderEntry, entry))
	k := open(t, config(dir))
	if k.RefreshKey().ID() != current.ID() {
		t.Errorf("the current key is %s", k.RefreshKey())
	}
	for _, want := range []refresh.Key{current, older} {
		if got, err := k.RefreshKeyByID(want.ID()); err != nil || got.ID() != want.ID() {
			t.Errorf("%s: %v, %v", want, got, err)
		}
	}
	if _, err := k.RefreshKeyByID("AAAAAAAAAAA"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a key that is nobody's: %v", err)
	}
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
