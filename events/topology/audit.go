package topology

import (
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/revocast/revocast/events"
)

// AuditOfSessions is where AUDIT keeps everything about the sessions of one subject.
// The server's partition() is FNV-1a in 32 bits over the tokens named, modulo the
// number of partitions (nats-server, subject_transform.go).
func (o Options) AuditOfSessions(k events.SubjectKey) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(k))
	return o.root() + "audit.journal.session." + strconv.FormatUint(uint64(h.Sum32()%auditShards), 10)
}

// AuditOfFeed is where AUDIT keeps what was published on a feed subject of a
// revocation or a lift.
func (o Options) AuditOfFeed(subject string) string {
	return o.root() + "audit.feed." + strings.TrimPrefix(subject, o.root()+"feed.")
}

// AuditOfKind matches everything that AUDIT sourced of one kind: "journal.session",
// "journal.client", "journal.key", "feed.<kind of revocation>", "feed.lift" or
// "feed.keys".
func (o Options) AuditOfKind(kind string) string { return o.root() + "audit." + kind + ".*" }
