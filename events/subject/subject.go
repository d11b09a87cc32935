// Package subject is the grammar of Revocast's NATS subjects: how they are
// built, how they are read back, and what the streams are called.
//
//	revocast.<realm>.journal.session.<subject-key>.<sid>
//	revocast.<realm>.journal.user.<subject-key>
//	revocast.<realm>.journal.cut.<kind>.<subject-key>
//	revocast.<realm>.journal.replay.<subject-key>.<sid>
//	revocast.<realm>.journal.client.<client-key>
//	revocast.<realm>.journal.operator.<operator-key>
//	revocast.<realm>.journal.key.<kid>
//	revocast.<realm>.journal.secret.<kid>
//	revocast.<realm>.journal.spent.<message-key>
//	revocast.<realm>.journal.lifetimes
//	revocast.<realm>.journal.barrier
//	revocast.<realm>.feed.<kind>.<shard>       token session subject client key all
//	revocast.<realm>.feed.lift.<shard>
//	revocast.<realm>.feed.keys                 signing keys, signed by the root
//	revocast.<realm>.feed.heartbeat            the server's own, sourced from pulse.beat
//	revocast.<realm>.pulse.schedule            what makes the server beat
//	revocast.<realm>.pulse.beat                what that makes the server publish
//	revocast.<realm>.live.>                    the feed, republished
//	revocast.<realm>.audit.>                   both, kept for the audit
//	revocast.<realm>.audit.note.<shard>        what changes no state, published there
//	revocast.<realm>.snapshot.>                the feed up to a sequence, packed
//	revocast.<realm>.report.<sidecar>          applied positions
//
// Invariants:
//
//   - Every subject this package builds, [Parse] reads back to the same value.
//   - No id given by a client enters a subject unhashed.
package subject

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"strings"

	"github.com/revocast/revocast/events"
)

// FeedShards is the number of subjects each kind of feed entry is spread over.
// Few, because the server keeps about 0.4 kB for every subject of a stream.
const FeedShards = 8

// Realm names one tenant of a broker: one set of streams, one root key. Lower-case
// letters, digits and hyphens, at most 32, beginning with a letter or digit.
type Realm string

// ParseRealm checks a name given by a human.
func ParseRealm(s string) (Realm, error) {
	if s == "" || len(s) > 32 || s[0] == '-' {
		return "", errRealm(s)
	}
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "", errRealm(s)
		}
	}
	return Realm(s), nil
}

func errRealm(s string) error {
	return fmt.Errorf("realm %q: want 1 to 32 of a-z, 0-9 and '-', not beginning with '-'", s)
}

func (r Realm) root() string { return "revocast." + string(r) + "." }

func (r Realm) stream(name string) string {
	return "REVOCAST_" + strings.ToUpper(string(r)) + "_" + name
}

// JournalStream names the stream that only issuers read.
func (r Realm) JournalStream() string { return r.stream("JOURNAL") }

// FeedStream names the stream that sidecars follow.
func (r Realm) FeedStream() string { return r.stream("FEED") }

// AuditStream names the stream that remembers both.
func (r Realm) AuditStream() string { return r.stream("AUDIT") }

// EventsStream names the copy of the feed that subscribers consume. It lives in an
// account of its own and outlasts the entries' own expiry.
func (r Realm) EventsStream() string { return r.stream("EVENTS") }

// PulseStream names the stream in which the server's clock ticks; FEED sources
// its heartbeat from there.
func (r Realm) PulseStream() string { return r.stream("PULSE") }

// SnapshotStream names the stream that sidecars which start from nothing may begin
// with.
func (r Realm) SnapshotStream() string { return r.stream("SNAPSHOT") }

// Snapshots matches everything in it.
func (r Realm) Snapshots() string { return r.root() + "snapshot.>" }

// SnapshotManifest says what a snapshot consists of.
func (r Realm) SnapshotManifest() string { return r.root() + "snapshot.manifest" }

// SnapshotClaim is where an issuer says that it is about to write one.
func (r Realm) SnapshotClaim() string { return r.root() + "snapshot.claim" }

// SnapshotChunk is the n-th part of one.
func (r Realm) SnapshotChunk(n int) string {
	return r.root() + "snapshot.chunk." + strconv.Itoa(n)
}

// PulseSchedule is the subject of the message that makes the server tick.
func (r Realm) PulseSchedule() string { return r.root() + "pulse.schedule" }

// PulseBeat is where each tick lands, before FEED takes it up as a heartbeat.
func (r Realm) PulseBeat() string { return r.root() + "pulse.beat" }

// Journal matches every journal subject.
func (r Realm) Journal() string { return r.root() + "journal.>" }

// Feed matches every feed subject.
func (r Realm) Feed() string { return r.root() + "feed.>" }

// Live matches the republished feed.
func (r Realm) Live() string { return r.root() + "live.>" }

// LiveHeartbeat is where the republished heartbeat arrives.
func (r Realm) LiveHeartbeat() string { return r.root() + "live.heartbeat" }

// LiveOfKeys matches what the republished feed says of keys: those added and retired,
// those revoked, and lifts, of which some are of keys.
func (r Realm) LiveOfKeys() []string {
	live := r.root() + "live."
	return []string{live + "keys", live + events.KindKey.String() + ".*", live + "lift.*"}
}

// Audit matches every audit subject.
func (r Realm) Audit() string { return r.root() + "audit.>" }

// Session is the journal subject of one session.
func (r Realm) Session(k events.SubjectKey, sid events.SessionID) string {
	return r.root() + "journal.session." + string(k) + "." + string(sid)
}

// SessionByID matches one session whose subject is not known.
func (r Realm) SessionByID(sid events.SessionID) string {
	return r.root() + "journal.session.*." + string(sid)
}

// Sessions matches every session of one subject.
func (r Realm) Sessions(k events.SubjectKey) string {
	return r.root() + "journal.session." + string(k) + ".*"
}

// User is the journal subject of one user.
func (r Realm) User(k events.SubjectKey) string { return r.root() + "journal.user." + string(k) }

// Users matches every user.
func (r Realm) Users() string { return r.root() + "journal.user.*" }

// Cut is the journal subject of the revocations of one id that is no session: a
// session's revocation is its own last record.
func (r Realm) Cut(kind events.Kind, k events.SubjectKey) string {
	return r.root() + "journal.cut." + kind.String() + "." + string(k)
}

// Replay is where superseded refresh tokens of one session are counted.
func (r Realm) Replay(k events.SubjectKey, sid events.SessionID) string {
	return r.root() + "journal.replay." + string(k) + "." + string(sid)
}

// Client is the journal subject of one client; its key is of [events.KindClient].
func (r Realm) Client(k events.SubjectKey) string { return r.root() + "journal.client." + string(k) }

// Clients matches every client that the journal says something about.
func (r Realm) Clients() string { return r.root() + "journal.client.*" }

// Operator is the journal subject of one operator, by the keyed hash of the name.
func (r Realm) Operator(k events.SubjectKey) string {
	return r.root() + "journal.operator." + string(k)
}

// Operators matches every operator.
func (r Realm) Operators() string { return r.root() + "journal.operator.*" }

// Key is the journal subject of one signing key.
func (r Realm) Key(kid events.KeyID) string { return r.root() + "journal.key." + string(kid) }

// Keys matches every signing key.
func (r Realm) Keys() string { return r.root() + "journal.key.*" }

// Secret is where the secret half of one key is kept, sealed.
func (r Realm) Secret(kid events.KeyID) string { return r.root() + "journal.secret." + string(kid) }

// Secrets matches every sealed secret.
func (r Realm) Secrets() string { return r.root() + "journal.secret.*" }

// Lifetimes is where issuers say how long access tokens live.
func (r Realm) Lifetimes() string { return r.root() + "journal.lifetimes" }

// Spent is where it stands that a message was taken which may be taken once: its key
// is of [events.KindToken], of who signed it and of the id it has from there.
func (r Realm) Spent(k events.SubjectKey) string { return r.root() + "journal.spent." + string(k) }

// NoteShards is the number of subjects that notes are spread over.
const NoteShards = 16

// Note is the audit subject of a note about somebody; every note about one of an
// issuer's subjects has the same.
func (r Realm) Note(issuer events.Issuer, sub events.Subject) string {
	return r.root() + "audit.note." + strconv.FormatUint(uint64(sum(issuer, string(sub))%NoteShards), 10)
}

// Notes matches every note.
func (r Realm) Notes() string { return r.root() + "audit.note.*" }

// Barrier is the journal subject of barrier appends.
func (r Realm) Barrier() string { return r.root() + "journal.barrier" }

// FeedEntry is the feed subject of a revocation. Its shard follows from the
// target, so that everything said about one id is said in one order.
func (r Realm) FeedEntry(kind events.Kind, issuer events.Issuer, target string) string {
	return r.root() + "feed." + kind.String() + "." + shard(issuer, target)
}

// FeedLift is the feed subject of a lift.
func (r Realm) FeedLift(issuer events.Issuer, target string) string {
	return r.root() + "feed.lift." + shard(issuer, target)
}

// FeedKeys is the feed subject of signed signing keys.
func (r Realm) FeedKeys() string { return r.root() + "feed.keys" }

// FeedHeartbeat is the feed subject of the server's heartbeat.
func (r Realm) FeedHeartbeat() string { return r.root() + "feed.heartbeat" }

// Report is where one sidecar reports; Reports matches all of them.
func (r Realm) Report(sidecar string) string { return r.root() + "report." + sidecar }

// Reports matches the reports of every sidecar.
func (r Realm) Reports() string { return r.root() + "report.*" }

// FleetAsk is where issuers ask every sidecar to report.
func (r Realm) FleetAsk() string { return r.root() + "fleet.ask" }

// shard spreads targets evenly; it is not a secret and need not be.
func shard(issuer events.Issuer, target string) string {
	return strconv.FormatUint(uint64(sum(issuer, target)%FeedShards), 10)
}

func sum(issuer events.Issuer, target string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(issuer))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(target))
	return h.Sum32()
}

// Keyer turns ids into subject keys under one secret, shared by the issuers of a
// realm. The zero Keyer panics rather than hash without a key.
type Keyer struct{ secret []byte }

// NewKeyer keeps a copy of secret, which must have at least 16 bytes.
func NewKeyer(secret []byte) (Keyer, error) {
	if len(secret) < 16 {
		return Keyer{}, errors.New("subject-key secret has fewer than 16 bytes")
	}
	return Keyer{secret: append([]byte(nil), secret...)}, nil
}

// Format prints a placeholder whatever the verb: the field is a secret.
func (Keyer) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[subject-key secret]") }

// Key hashes an id of the given kind and issuer: HMAC-SHA256 cut to 128 bits.
func (k Keyer) Key(kind events.Kind, issuer events.Issuer, id string) events.SubjectKey {
	if len(k.secret) == 0 {
		panic("subject: zero Keyer")
	}
	mac := hmac.New(sha256.New, k.secret)
	_, _ = mac.Write([]byte{byte(kind)})
	_, _ = mac.Write([]byte(issuer))
	_, _ = mac.Write([]byte{0})
	_, _ = mac.Write([]byte(id))
	return events.SubjectKey(hex.EncodeToString(mac.Sum(nil)[:16]))
}
