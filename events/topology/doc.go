// Package topology says, as data, what a realm's message broker looks like: its
// streams, the accounts its roles live in, and what each role may do. Nothing in
// it speaks to a broker; package provision creates the streams, package natsauth
// turns roles into credentials, and anyone else can write it out as files.
//
//	writers                stream                     readers
//	issuers ─────────────▶ JOURNAL ─┬───────────────▶ issuers
//	                                ├─▶ AUDIT ──────▶ finisher, operators
//	issuers, operators ─▶┐          │
//	                     ├▶ FEED ───┼─ live.> ──────▶ sidecars, operators
//	the server ─▶ PULSE ─┘          └─▶ EVENTS ─────▶ subscribers
//
// EVENTS lies in an account of its own, the vault; the others in the issuers'.
//
// Invariants:
//
//   - Each role has an account of its own, and accounts share single subjects
//     (INV-8). Permissions inside an account only narrow further: JetStream does
//     not check them on reply and deliver subjects, but it cannot leave an account
//     that way. So nobody but issuers is in an account that holds streams.
//   - No stream that anyone but an issuer can write to accepts roll-ups or
//     schedules. NATS turns roll-ups on wherever it allows schedules, and one
//     roll-up erases every revocation before it; so the heartbeat is scheduled in
//     PULSE, which nobody can write to but issuers, and sourced into FEED.
//   - No stream that sources another accepts roll-ups (a sourced message keeps
//     its headers, and would erase other people's entries) and none that must
//     remember obeys per-message expiry.
//   - Stream sequences begin at the clock, so that they never go back.
package topology
