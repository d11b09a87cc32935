package signing

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/refresh"
)

// maxMACKeys bounds how many keys a file may hold.
const maxMACKeys = 64

// macFile is the file's form.
type macFile struct {
	Current string     `json:"current"`
	Keys    []macEntry `json:"keys"`
}

type macEntry struct {
	ID string `json:"id"`
	// Secret is base64url without padding.
	Secret string `json:"secret"`
}

// macKeys is the file's content; secret is the current key's.
type macKeys struct {
	current refresh.Key
	secret  []byte
	known   map[events.KeyID]refresh.Key
}

func newMACKeys() ([]byte, error) {
	secret := make([]byte, refresh.SecretSize)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	key, err := refresh.NewKey(secret)
	if err != nil {
		return nil, err
	}
	id := string(key.ID())
	return json.Marshal(macFile{
		Current: id,
		Keys:    []macEntry{{ID: id, Secret: base64.RawURLEncoding.EncodeToString(secret)}},
	}, jsontext.WithIndent("  "))
}

// macKeys reads the file. An id is computed from its secret, so the one that stands
// beside it is a checksum.
func (d dir) macKeys() (*macKeys, error) {
	data, err := d.readPrivate(fileRefresh)
	if err != nil {
		return nil, err
	}
	set, err := parseMACKeys(data)
	if err != nil {
		return nil, fmt.Errorf("key file %s of %s: %w", fileRefresh, d.name, err)
	}
	return set, nil
}

func parseMACKeys(data []byte) (*macKeys, error) {
	var file macFile
	if err := json.Unmarshal(data, &file, json.RejectUnknownMembers(true)); err != nil {
		// The decoder's own words may quote the file.
		return nil, errors.New("not the JSON object that belongs here")
	}
	if len(file.Keys) > maxMACKeys {
		return nil, fmt.Errorf("%d keys, at most %d", len(file.Keys), maxMACKeys)
	}
	set := &macKeys{known: make(map[events.KeyID]refresh.Key, len(file.Keys))}
	for i, entry := range file.Keys {
		secret, err := base64.RawURLEncoding.Strict().DecodeString(entry.Secret)
		if err != nil {
			return nil, fmt.Errorf("key %d is not base64url", i+1)
		}
		key, err := refresh.NewKey(secret)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		if _, twice := set.known[key.ID()]; twice || string(key.ID()) != entry.ID {
			return nil, fmt.Errorf("key %d is there twice or is not the key of its id", i+1)
		}
		set.known[key.ID()] = key
		if entry.ID == file.Current {
			set.current, set.secret = key, secret
		}
	}
	if set.secret == nil {
		return nil, errors.New("the current key is none of the keys")
	}
	return set, nil
}
