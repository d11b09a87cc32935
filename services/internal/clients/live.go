package clients

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// Live is the registry in force: that of the file as it was last read without a
// fault. It is safe for concurrent use, and reading it takes no lock.
type Live struct {
	file     string
	defaults session.Policy
	current  atomic.Pointer[Registry]

	reloading sync.Mutex // one file after the other
}

// Open reads the file for the first time, with defaults as [Load] takes them. An
// empty name is no file: nobody is known then, and nothing is reloaded.
func Open(file string, defaults session.Policy) (*Live, error) {
	l := &Live{file: file, defaults: defaults}
	l.current.Store(&Registry{})
	return l, l.Reload(func(Registry) {})
}

// Reload reads the file again. What it says comes into force at one moment, after
// prepare has been told of it; after an error everything is as before.
func (l *Live) Reload(prepare func(next Registry)) error {
	if l.file == "" {
		return nil
	}
	l.reloading.Lock()
	defer l.reloading.Unlock()
	next, err := Load(l.file, l.defaults)
	if err != nil {
		return err
	}
	prepare(next)
	l.current.Store(&next)
	return nil
}

// Registry is what is in force now.
func (l *Live) Registry() Registry { return *l.current.Load() }

// Find gives a client by its id, as [Registry.Find] does.
func (l *Live) Find(id events.ClientID) (Client, bool) { return l.Registry().Find(id) }

// Authenticate proves a client, as [Registry.Authenticate] does.
func (l *Live) Authenticate(id events.ClientID, secret string) (Client, bool) {
	return l.Registry().Authenticate(id, secret)
}

// Scopes lists every scope that any client may have, sorted.
func (l *Live) Scopes() []string { return l.Registry().Scopes() }

// MaxAccessTTL is the longest lifetime that any client's access tokens have, and at
// least the default.
func (l *Live) MaxAccessTTL() time.Duration {
	return max(l.defaults.AccessTTL, l.Registry().MaxAccessTTL())
}
