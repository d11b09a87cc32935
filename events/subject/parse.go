package subject

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/revocast/revocast/events"
)

// Place is what a subject says. The set is closed.
//
//sumtype:decl
type Place interface{ place() }

// The places a subject can name.
type (
	// Session is journal.session.
	Session struct {
		Key events.SubjectKey
		ID  events.SessionID
	}
	// User is journal.user.
	User struct{ Key events.SubjectKey }
	// Cut is journal.cut.
	Cut struct {
		Kind events.Kind
		Key  events.SubjectKey
	}
	// Key is journal.key.
	Key struct{ ID events.KeyID }
	// Replay is journal.replay.
	Replay struct {
		Key events.SubjectKey
		ID  events.SessionID
	}
	// Client is journal.client.
	Client struct{ Key events.SubjectKey }
	// Operator is journal.operator.
	Operator struct{ Key events.SubjectKey }
	// Secret is journal.secret.
	Secret struct{ ID events.KeyID }
	// Spent is journal.spent.
	Spent struct{ Key events.SubjectKey }
	// Lifetimes is journal.lifetimes.
	Lifetimes struct{}
	// Note is audit.note.
	Note struct{ Shard uint8 }
	// Barrier is journal.barrier.
	Barrier struct{}
	// FeedEntry is feed.<kind>.
	FeedEntry struct {
		Kind  events.Kind
		Shard uint8
	}
	// FeedLift is feed.lift.
	FeedLift struct{ Shard uint8 }
	// FeedKeys is feed.keys.
	FeedKeys struct{}
	// FeedHeartbeat is feed.heartbeat.
	FeedHeartbeat struct{}
	// Report is report.<sidecar>.
	Report struct{ Sidecar string }
	// FleetAsk is fleet.ask.
	FleetAsk struct{}
)

func (Session) place()       {}
func (User) place()          {}
func (Cut) place()           {}
func (Key) place()           {}
func (Replay) place()        {}
func (Client) place()        {}
func (Operator) place()      {}
func (Secret) place()        {}
func (Spent) place()         {}
func (Lifetimes) place()     {}
func (Note) place()          {}
func (Barrier) place()       {}
func (FeedEntry) place()     {}
func (FeedLift) place()      {}
func (FeedKeys) place()      {}
func (FeedHeartbeat) place() {}
func (Report) place()        {}
func (FleetAsk) place()      {}

// maxSubject bounds what Parse looks at; our own subjects stay below 200 bytes.
const maxSubject = 512

// Parse reads a concrete subject (no wildcards). It is strict: what it accepts,
// this package would have written. Live subjects read as the feed subject they
// repeat.
func Parse(s string) (Realm, Place, error) {
	if len(s) > maxSubject {
		return "", nil, fmt.Errorf("subject of %d bytes is none of ours", len(s))
	}
	t := strings.Split(s, ".")
	if len(t) < 4 || t[0] != "revocast" {
		return "", nil, errSubject(s)
	}
	realm, err := ParseRealm(t[1])
	if err != nil {
		return "", nil, err
	}
	var p Place
	switch t[2] {
	case "journal":
		p = parseJournal(t[3:])
	case "feed", "live":
		p = parseFeed(t[3:])
	case "audit":
		if len(t) == 5 && t[3] == "note" {
			if n, ok := parseShard(t[4], NoteShards); ok {
				p = Note{Shard: n}
			}
		}
	case "report":
		if len(t) == 4 && validName(t[3]) {
			p = Report{Sidecar: t[3]}
		}
	case "fleet":
		if len(t) == 4 && t[3] == "ask" {
			p = FleetAsk{}
		}
	}
	if p == nil {
		return "", nil, errSubject(s)
	}
	return realm, p, nil
}

func errSubject(s string) error { return fmt.Errorf("subject %q is none of ours", s) }

func parseJournal(t []string) Place {
	switch {
	case len(t) == 3 && t[0] == "session" && validKey(t[1]) && validName(t[2]):
		return Session{Key: events.SubjectKey(t[1]), ID: events.SessionID(t[2])}
	case len(t) == 2 && t[0] == "user" && validKey(t[1]):
		return User{Key: events.SubjectKey(t[1])}
	case len(t) == 3 && t[0] == "cut" && validKey(t[2]):
		if kind, err := events.ParseKind(t[1]); err == nil && kind != events.KindSession {
			return Cut{Kind: kind, Key: events.SubjectKey(t[2])}
		}
	case len(t) == 2 && t[0] == "key" && validName(t[1]):
		return Key{ID: events.KeyID(t[1])}
	case len(t) == 3 && t[0] == "replay" && validKey(t[1]) && validName(t[2]):
		return Replay{Key: events.SubjectKey(t[1]), ID: events.SessionID(t[2])}
	case len(t) == 2 && t[0] == "client" && validKey(t[1]):
		return Client{Key: events.SubjectKey(t[1])}
	case len(t) == 2 && t[0] == "operator" && validKey(t[1]):
		return Operator{Key: events.SubjectKey(t[1])}
	case len(t) == 2 && t[0] == "secret" && validName(t[1]):
		return Secret{ID: events.KeyID(t[1])}
	case len(t) == 2 && t[0] == "spent" && validKey(t[1]):
		return Spent{Key: events.SubjectKey(t[1])}
	case len(t) == 1 && t[0] == "lifetimes":
		return Lifetimes{}
	case len(t) == 1 && t[0] == "barrier":
		return Barrier{}
	}
	return nil
}

func parseFeed(t []string) Place {
	switch {
	case len(t) == 1 && t[0] == "keys":
		return FeedKeys{}
	case len(t) == 1 && t[0] == "heartbeat":
		return FeedHeartbeat{}
	case len(t) != 2:
		return nil
	}
	n, ok := parseShard(t[1], FeedShards)
	if !ok {
		return nil
	}
	if t[0] == "lift" {
		return FeedLift{Shard: n}
	}
	if kind, err := events.ParseKind(t[0]); err == nil {
		return FeedEntry{Kind: kind, Shard: n}
	}
	return nil
}

func parseShard(s string, shards uint64) (uint8, bool) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n >= shards || strconv.FormatUint(n, 10) != s {
		return 0, false
	}
	return uint8(n), true
}

// validKey accepts what [Keyer.Key] writes.
func validKey(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// validName accepts one subject token of base64url characters, at most 128: UUIDs,
// key thumbprints, sidecar names.
func validName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
