// Package adminapi is the admin listener's API: what a sidecar says of itself, why a
// token passes or not, and whether its store still agrees with the feed.
//
// Invariants:
//
//   - It changes nothing: no answer to a request, no entry, no file.
//   - An explanation is decided by the very steps of a request, and counted as none.
//   - Nothing is shown of a token whose signature does not verify. The token itself is
//     never shown, logged or taken from a URL.
//   - A page in a browser of the same machine cannot make it work: what costs something
//     refuses requests from other sites.
package adminapi
