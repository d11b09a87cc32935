// Package syncer keeps the denylist of a sidecar up with the feed: it connects to
// the broker and carries out what package replica decides.
//
// A snapshot, for who starts from nothing, is read in the same way from a stream of its
// own and believed only under the realm root's signature (ADR-0018).
//
// It speaks core NATS only. Live messages are those that the feed stream
// republishes; what was missed is read by batched direct get (NATS ADR-31), many
// messages to a request, without headers. A sidecar therefore costs the broker no
// consumer. The message formats are those of the server, stream.go of nats-server
// 2.15.
//
// Invariants:
//
//   - One goroutine owns the replica. What it says is published only after it has
//     been applied (INV-2).
//   - A live message counts only if the server alone wrote the headers that say
//     where it stands: each of them exactly once, and the stream is the feed.
//   - The answer to a fetch counts only as a whole. Its inbox cannot be guessed, an
//     answer to an earlier request is told from one to the latest, and no message
//     of it is dropped for want of room: what may be under way is bounded instead.
//   - No answer, no connection and no broker is an error. It shows in the state,
//     and the denylist serves on.
package syncer
