// Package introspect answers resource servers that ask about a token rather than verify
// it (RFC 7662), from what the sidecar knows: no request leaves it. A token is active if
// it would pass by the policy; scopes, roles and audiences of its own the resource server
// enforces itself.
//
// There is no signed answer (RFC 9701): the sidecar has no key to sign with. A caller
// that accepts nothing else gets 406.
//
// Invariants:
//
//   - Who asks has proved who it is: by a secret of the file of clients, as Basic
//     credentials, in the form or as a Bearer token, or by a client certificate that
//     TLS has verified; by one method, and where a certificate comes besides, as the
//     same client. Every failure is answered alike, and what a header shows is judged
//     before the form is read.
//   - Nobody is waited for: a form has a second to come.
//   - What is not active is {"active":false} and nothing else (section 2.2), whatever
//     the reason. What cannot be judged is 503, so that nobody takes it for inactive.
//   - Nobody may keep an answer: one that says active must not outlive a revocation.
//   - The form is read one way only: a parameter that is given twice is refused, and
//     nothing is taken from the query.
package introspect
