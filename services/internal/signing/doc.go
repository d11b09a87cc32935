// Package signing holds the issuer's keys and what is done with them: it makes the
// key directory on the first start, signs access tokens (RFC 9068), checks those
// that come back to the issuer's own endpoints, publishes the JSON Web Key Set
// (RFC 7517), hands out the keys of refresh tokens, and seals the secrets that the
// journal keeps. How keys follow each other is not known here: packages keyring and
// keeper see to that, and say by [Keys.Use] which are in force.
//
// The directory, all of it private to its owner but realm-root.pub:
//
//	signing-es256.pem   signs access tokens; PKCS #8
//	signing-rs256.pem   stands beside it for verifiers that know nothing else
//	refresh-keys.json   MAC keys of refresh tokens: the current one and older ones
//	subject-key.txt     secret under which ids become NATS subjects
//	realm-root.pem      Ed25519, signs what allows: keys added, lifts
//	realm-root.pub      its public half, which every sidecar pins; PKIX
//	version             written last: from then on a missing file is a loss, not a
//	                    first start, and is never made again
//
// Issuers of one realm share the directory's content, which nobody writes again. Its
// keys are the first generation; later ones lie in the journal, sealed under a key
// that follows from the realm's root (ADR-0013). The directory must not lie in the
// data directory: what the journal holds and what lies here forge nothing apart
// (ADR-0004), and a backup of one must not be a backup of both.
//
// Invariants:
//
//   - Two issuers that start at once on an empty directory end up with the same keys.
//   - An issuer does not start on keys that group or others can read.
//   - A token is accepted only with the one algorithm of its key, the type at+jwt
//     and nothing in its header that this package did not write.
//   - What [Keys.Sign] signs, [Keys.Verify] accepts until it expires, while its key
//     is in force; neither accepts a token without issuer, subject, client, audience,
//     id, iat and exp.
//   - A sealed secret opens only as what it was sealed as: of its realm, id, use and
//     algorithm.
//   - No private or symmetric key leaves this package but through the methods that
//     say so, and printing [Keys] or a [Pair] shows none.
package signing
