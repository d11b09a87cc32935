package signing

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/refresh"
)

// maxMACKeys bounds how many keys a file may hold: one is current, and the others
// are older ones or one that waits until every issuer has it.
const maxMACKeys = 64

// lookEvery bounds how often an unknown key id makes us read the file: anyone can
// make up ids.
const lookEvery = 5 * time.Second

// ErrUnknownKey means that a refresh token names a key that this issuer does not
// have, even after looking again. Another may have it already, so the answer is
// 503, never invalid_grant: that would make the client throw the token away.
var ErrUnknownKey = errors.New("refresh-token key is not known here")

// macFile is the file's form. A key is added to the file of every issuer before it
// is made current in any.
type macFile struct {
	Current string     `json:"current"`
	Keys    []macEntry `json:"keys"`
}

type macEntry struct {
	ID string `json:"id"`
	// Secret is base64url without padding.
	Secret string `json:"secret"`
}

type macKeys struct {
	current refresh.Key
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
	}
	var ok bool
	if set.current, ok = set.known[events.KeyID(file.Current)]; !ok {
		return nil, errors.New("the current key is none of the keys")
	}
	return set, nil
}

// Reload reads the refresh-token keys again. After an error the ones known before
// stay in force.
func (k *Keys) Reload() error {
	d, err := openDir(k.cfg.Dir)
	if err != nil {
		return err
	}
	set, err := d.macKeys()
	if err := errors.Join(err, d.close()); err != nil {
		return err
	}
	k.macs.Store(set)
	return nil
}

// RefreshKey is the key that new refresh tokens are made with.
func (k *Keys) RefreshKey() refresh.Key { return k.macs.Load().current }

// RefreshKeyByID gives the key that a token or a session names. For an id that it
// does not know it looks at the file once more, though not often, and then says
// [ErrUnknownKey]; if it could not look, the reason is wrapped too.
func (k *Keys) RefreshKeyByID(id events.KeyID) (refresh.Key, error) {
	if key, ok := k.macs.Load().known[id]; ok {
		return key, nil
	}
	err := k.look()
	if key, ok := k.macs.Load().known[id]; ok {
		return key, nil
	}
	if err != nil {
		return refresh.Key{}, fmt.Errorf("%w: looking again: %w", ErrUnknownKey, err)
	}
	return refresh.Key{}, ErrUnknownKey
}

// look reloads unless that was done a moment ago. Callers that come meanwhile wait
// for the one that does it.
func (k *Keys) look() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.looked.IsZero() && time.Since(k.looked) < lookEvery {
		return nil
	}
	k.looked = time.Now()
	return k.Reload()
}
