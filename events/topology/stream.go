package topology

import (
	"strconv"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

// Stream is the part of a NATS stream configuration that Revocast decides. Its
// JSON form is NATS's own (ADR-8 of nats-architecture-and-design, StreamConfig),
// so it can be handed to any NATS tool as it is. Fields left out keep the
// server's default.
type Stream struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Subjects is what the stream listens to; none if it only sources.
	Subjects  []string `json:"subjects,omitempty"`
	Retention string   `json:"retention"`
	Storage   string   `json:"storage"`
	Discard   string   `json:"discard"`
	Replicas  int      `json:"num_replicas"`
	// The limits: -1 is none. MaxAge is in nanoseconds, 0 is for ever.
	MaxConsumers      int           `json:"max_consumers"`
	MaxMsgs           int64         `json:"max_msgs"`
	MaxBytes          int64         `json:"max_bytes"`
	MaxAge            time.Duration `json:"max_age"`
	MaxMsgsPerSubject int64         `json:"max_msgs_per_subject"`
	MaxMsgSize        int32         `json:"max_msg_size"`
	// Duplicates is how long a message id is remembered. A stream that sources
	// has none: the same id may rightly arrive from two origins.
	Duplicates time.Duration `json:"duplicate_window,omitempty"`
	Sources    []Source      `json:"sources,omitempty"`
	RePublish  *RePublish    `json:"republish,omitempty"`

	AllowDirect       bool `json:"allow_direct"`
	AllowRollup       bool `json:"allow_rollup_hdrs"`
	AllowMsgTTL       bool `json:"allow_msg_ttl"`
	AllowMsgSchedules bool `json:"allow_msg_schedules,omitempty"`
	// FirstSeq is set once, when the stream is created, from the clock.
	FirstSeq uint64 `json:"first_seq,omitempty"`
	// Metadata holds [VersionKey] and, for the feed, [EpochKey].
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Keys of a stream's metadata, and the version this package describes. A stream
// of a later version is left alone by older issuers.
const (
	VersionKey = "revocast.version"
	EpochKey   = "revocast.epoch"
	Version    = 1
)

// Source is one origin of a stream, read through a durable consumer of it that
// is made beforehand. A consumer that the server makes by itself would begin, if
// another origin's message came first, at that message's time and skip what is
// older, and after a fail-over it was seen to stall for 45 s.
type Source struct {
	Name string `json:"name"`
	// Transforms rename what comes; what matches none keeps its subject.
	Transforms []Transform    `json:"subject_transforms,omitempty"`
	External   *External      `json:"external,omitempty"`
	Consumer   SourceConsumer `json:"consumer"`
	// Filter is the consumer's: what of the origin is taken.
	Filter []string `json:"-"`
}

// Transform maps one subject filter to another subject.
type Transform struct {
	Source      string `json:"src"`
	Destination string `json:"dest"`
}

// External says where another account's JetStream API is to be found.
type External struct {
	API     string `json:"api"`
	Deliver string `json:"deliver"`
}

// SourceConsumer names a durable push consumer and where it delivers. Both end in
// a token drawn when the stream is created, so that a stream made anew has a
// consumer that begins anew, and issuers that start together never share one.
type SourceConsumer struct {
	Name    string `json:"name"`
	Deliver string `json:"deliver_subject"`
}

// RePublish makes the server publish what it has stored.
type RePublish struct {
	Source      string `json:"src"`
	Destination string `json:"dest"`
}

// Options is what differs between one realm and another.
type Options struct {
	Realm subject.Realm
	// Replicas of every stream: 1, 3 or 5. Zero means 1.
	Replicas int
	// AuditMaxAge is how long AUDIT remembers. Zero means 400 days.
	AuditMaxAge time.Duration
	// EventsMaxAge is how long a subscriber may be away and still miss nothing.
	// Zero means 7 days.
	EventsMaxAge time.Duration
}

const (
	day = 24 * time.Hour

	// HeartbeatEvery is the period of the server's heartbeat.
	HeartbeatEvery = time.Second
	// HeartbeatTTL is how long FEED keeps one.
	HeartbeatTTL = time.Minute
	// SnapshotMaxAge is how long a snapshot is kept that none has followed.
	SnapshotMaxAge = 24 * time.Hour
	// DuplicateWindow is how long JOURNAL and FEED know a message id again.
	DuplicateWindow = 2 * time.Minute

	// journalDepth is how many earlier states of an entity JOURNAL keeps.
	journalDepth = 16
	// auditShards is how many subjects AUDIT spreads each kind of entity over.
	auditShards = 16
	// maxEntry bounds one message of the feed with its headers, in bytes. It must
	// stay well below 64 KiB: sourcing adds a header, NATS refuses headers beyond
	// 64 KiB, and a message that AUDIT refuses would stop its sourcing for good.
	maxEntry = 32 << 10
	// maxChunk bounds one message of a snapshot with its headers, in bytes.
	maxChunk = 800 << 10
	// maxState bounds one message of the journal: the codec's limit and headers.
	maxState = 272 << 10
)

// base is what all streams have in common.
func (o Options) base(name, description string) Stream {
	return Stream{
		Name: name, Description: description,
		Retention: "limits", Storage: "file", Discard: "old", Replicas: max(o.Replicas, 1),
		MaxConsumers: -1, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1,
		Metadata: map[string]string{VersionKey: strconv.Itoa(Version)},
	}
}

// Journal is the life of every session, user and key; issuers only.
func (o Options) Journal() Stream {
	s := o.base(o.Realm.JournalStream(), "Revocast: the life of sessions, users and keys")
	s.Subjects = []string{o.Realm.Journal()}
	s.MaxMsgsPerSubject, s.MaxMsgSize = journalDepth, maxState
	s.Duplicates = DuplicateWindow
	s.AllowDirect, s.AllowMsgTTL, s.AllowRollup = true, true, true
	return s
}

// Pulse is where the server's own clock ticks: see the package's invariants.
func (o Options) Pulse() Stream {
	s := o.base(o.Realm.PulseStream(), "Revocast: the server's heartbeat, before it enters the feed")
	s.Subjects = []string{o.Realm.PulseSchedule(), o.Realm.PulseBeat()}
	// A tick that was not taken up before the next is worth nothing.
	s.MaxMsgsPerSubject, s.MaxMsgSize = 1, maxEntry/2
	s.Duplicates = DuplicateWindow
	s.AllowMsgTTL, s.AllowMsgSchedules = true, true
	s.AllowRollup = true // NATS turns it on with schedules; said, so that nothing differs.
	return s
}

// Feed is what is denied, by whom, until when. The heartbeat comes from PULSE; it
// is among the subjects so that an issuer can stand in when sourcing stalls. For
// the token see [SourceConsumer].
func (o Options) Feed(token string) Stream {
	s := o.base(o.Realm.FeedStream(), "Revocast: what is to be denied")
	s.Subjects = append(o.feedSubjects(), o.Realm.FeedHeartbeat())
	s.MaxMsgSize = maxEntry
	s.Duplicates = DuplicateWindow
	s.Sources = []Source{
		o.source("feed", "pulse", token, Transform{o.Realm.PulseBeat(), o.Realm.FeedHeartbeat()}),
	}
	s.RePublish = &RePublish{Source: o.Realm.Feed(), Destination: o.Realm.Live()}
	s.AllowDirect, s.AllowMsgTTL = true, true
	return s
}

// Snapshot is the feed up to a sequence, packed (package snapshot), for sidecars that
// start from nothing. Its last manifest stays whole while the next is being written,
// and what nobody renews goes away.
func (o Options) Snapshot() Stream {
	s := o.base(o.Realm.SnapshotStream(), "Revocast: the feed packed, for sidecars that start from nothing")
	s.Subjects = []string{o.Realm.Snapshots()}
	s.MaxAge, s.MaxMsgsPerSubject, s.MaxMsgSize = SnapshotMaxAge, 2, maxChunk
	s.Duplicates = DuplicateWindow
	s.AllowDirect = true
	return s
}

// Audit remembers both, except credentials, barriers and heartbeats, on few
// subjects of one depth: audit.<journal or feed>.<kind>.<shard>. Notes, which
// change no state, are published to it: audit.note.<shard>.
func (o Options) Audit(token string) Stream {
	s := o.base(o.Realm.AuditStream(), "Revocast: what happened")
	s.MaxAge = o.AuditMaxAge
	if s.MaxAge == 0 {
		s.MaxAge = 400 * day
	}
	s.Subjects = []string{o.Realm.Notes()}
	journal, feed, audit := o.root()+"journal.", o.root()+"feed.", o.root()+"audit."
	shards := strconv.Itoa(auditShards)
	s.Sources = []Source{
		o.source("audit", "journal", token,
			Transform{journal + "session.*.*", audit + "journal.session.{{partition(" + shards + ",1)}}"},
			Transform{journal + "cut.*.*", audit + "journal.cut.{{partition(" + shards + ",1,2)}}"},
			Transform{journal + "client.*", audit + "journal.client.{{partition(1,1)}}"},
			Transform{journal + "key.*", audit + "journal.key.{{partition(1,1)}}"}),
		o.source("audit", "feed", token,
			Transform{feed + "*.*", audit + "feed.{{wildcard(1)}}.{{wildcard(2)}}"},
			Transform{feed + "keys", audit + "feed.keys.0"}),
	}
	s.AllowDirect = true
	return s
}

// Events is the copy of the feed for subscribers, in the [Vault]: everything but
// heartbeats, under the same subjects. Its token is a secret: whoever may create a
// consumer, as subscribers may, could have it deliver where EVENTS listens.
func (o Options) Events(token string) Stream {
	s := o.base(o.Realm.EventsStream(), "Revocast: what was denied, for services that subscribe")
	s.MaxAge = o.EventsMaxAge
	if s.MaxAge == 0 {
		s.MaxAge = 7 * day
	}
	src := o.source("events", "feed", token)
	src.Filter, src.External = o.feedSubjects(), &External{API: o.FeedAPI()}
	s.Sources = []Source{src}
	return s
}

// source describes how the stream called sink reads the one called origin.
func (o Options) source(sink, origin, token string, transforms ...Transform) Source {
	s := Source{
		Name:       o.Realm.FeedStream(),
		Transforms: transforms,
		Consumer: SourceConsumer{
			Name:    strings.ToUpper(sink) + "-" + token,
			Deliver: o.sourcing(sink, origin) + token,
		},
	}
	switch origin {
	case "journal":
		s.Name = o.Realm.JournalStream()
	case "pulse":
		s.Name = o.Realm.PulseStream()
	}
	for _, t := range transforms {
		s.Filter = append(s.Filter, t.Source)
	}
	return s
}

// sourcing is where consumers deliver, without the token.
func (o Options) sourcing(sink, origin string) string {
	return o.root() + "sourcing." + sink + "." + origin + "."
}

// FeedAPI is the prefix under which the vault sees the part of FEED's API that
// sourcing needs; EventsAPI the one under which issuers see the part of EVENTS'
// that provisioning needs. Both stand for "$JS.API".
func (o Options) FeedAPI() string { return o.root() + "api.feed" }

// EventsAPI is described at [Options.FeedAPI].
func (o Options) EventsAPI() string { return o.root() + "api.events" }

func (o Options) root() string { return "revocast." + string(o.Realm) + "." }

// feedSubjects are the subjects of everything but heartbeats.
func (o Options) feedSubjects() []string {
	feed := o.root() + "feed."
	var list []string
	for _, k := range events.Kinds() {
		list = append(list, feed+k.String()+".*")
	}
	return append(list, feed+"lift.*", feed+"keys")
}
