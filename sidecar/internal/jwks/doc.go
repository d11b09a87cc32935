// Package jwks keeps the public keys of trusted issuers: one [Set] an issuer,
// found by its metadata (RFC 8414, else OpenID Connect Discovery), at a URL, or
// in a file; fetched, filtered, refreshed, and kept on disk so that a verifier
// starts without the network. Keys are JSON Web Keys (RFC 7517; RFC 8037 for
// Ed25519). Those of the realm's own issuers come by the feed as well, signed by its
// root, before any token is signed with them (ADR-0013).
//
// Invariants:
//
//   - A key belongs to the issuer whose set it came from and to one algorithm.
//   - A key that can sign (private or symmetric), is weak, is not for verifying
//     signatures, or shares its kid with another, is refused; the others of its
//     set still count, so that one bad key does not keep a withdrawn one alive.
//   - A key that its issuer no longer publishes is marked withdrawn for good;
//     whoever has kept it asks [Key.Usable].
//   - A key that the realm's root has announced counts at once and until its
//     announcement ends, whatever the issuer's set says; one that the root has
//     withdrawn counts no longer. Both are remembered over a restart, once
//     [Set.Saved] says so.
//   - Nothing waits for the disk, neither announcements nor refreshes, but what is
//     written there, and the end of [Set.Run] for a bounded time.
//   - Requests never fetch. They look up what is there and, for a kid that is
//     not, wait a bounded time for the one fetch that [Set.Run] makes; unknown
//     kids cannot make it fetch more often than the throttle allows.
//   - Keys come over https, or over http from the loopback interface.
package jwks
