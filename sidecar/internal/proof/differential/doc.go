// Package differential holds the verifier against another one: tokens made by chance,
// good, odd and forged, are judged by package token and by lestrrat-go/jwx, with the
// same keys, clock and policy (RFC 9068).
//
//	cd sidecar/internal/proof/differential && PROOF=full GOWORK=off go test -v -timeout 30m .
//
// By itself it judges a few thousand, always the same; with PROOF=full 100,000 others,
// and prints their seed. -differential.seed=N makes them again to the byte, keys
// included, -differential.tokens=N any number of them, -differential.only=N just one.
// It is a module of its own, so that the sidecar needs no second JOSE library.
//
// Invariants:
//
//   - What jwx refuses we refuse, save for what a standard bids us to ignore.
//   - What jwx accepts and we refuse has one reason out of a fixed table. Our error
//     names it, and a reading of the token that shares no code with ours confirms it.
//   - What both accept they read alike.
package differential
