// Package eventstore keeps the journal and announces on the feed, on NATS
// JetStream: one conditional publish for an append, one multi-subject direct get
// for a load (ADR-0002).
//
// Invariants:
//
//   - An append that returns a position is durable as the stream is configured,
//     and happened exactly once however often it had to be sent (INV-1).
//   - [events.ErrConflict] is returned only if this very event is not the last
//     one on its subject; a conflict with itself is success.
//   - An answer that never came is [events.ErrUnavailable], never a refusal.
//   - A load says nothing older than the position it was asked for.
package eventstore
