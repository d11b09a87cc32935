// Package token judges access tokens by themselves: their form, issuer, type,
// audience, signature and times. Form is read strictly, in front of golang-jwt,
// which checks the signature (RFC 7515, 7519, 8725, 9068). Whether a token is
// revoked is not asked here, but what the denylist needs to answer is prepared
// here, once, and kept with the verified token.
//
// Invariants:
//
//   - A token is verified only with a key of its own issuer, of the algorithm
//     the header names, both on the allow-list; no key comes from the token.
//   - `typ` separates access tokens from every other signed object of an issuer
//     (RFC 8725 section 3.11): it must be the rule's. Where that is JWT or none, for
//     providers that say no more, the payload's own marks refuse the others.
//   - Claims are taken from where the rule says, or the realm's names; a token cannot
//     choose. What a foreign issuer's claims are called binds nothing in the realm.
//   - Whatever the filter accepts, golang-jwt accepts and reads alike.
//   - No claim of a token counts before its signature has been verified, except
//     to choose the rule that refuses it.
//   - Only verified tokens enter the cache, and a hit asks again for expiry,
//     not-before and the key.
//   - Errors never repeat what an unverified token says.
package token
