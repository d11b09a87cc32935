// Package proxy stands before an application and passes on to it what may pass
// (httputil.ReverseProxy underneath). Every path is the application's; what the sidecar
// serves itself lies elsewhere.
//
// The application gets the request as it came, with the Host that the client asked for
// and the identity headers of package front. What lasts (a WebSocket, a stream of
// events, a long answer) lasts as long as its request would be let in anew: live
// exchanges are judged again when revocations come and once a second, for tokens expire
// and views grow stale. A WebSocket that is ended so is told with a close frame 1008 (RFC
// 6455 section 7.4.1) wherever that can be put between two frames of the application's;
// any other answer breaks off, or is the refusal if it had not begun. The first two
// seconds of a request are spared, unless it has become a WebSocket: it was let in before
// the revocation, and half an answer helps nobody.
//
// Invariants:
//
//   - No header of the client's can be taken for one of the front's, nor make the
//     application see another path or method than was judged: those names are removed
//     with hyphens and with underscores, and trailers of requests altogether.
//   - No protocol but WebSocket is upgraded to: whoever could talk HTTP/2 through the
//     tunnel (h2c) would not be asked for a token again.
//   - No answer tells what the application says about who asks, or about how fresh the
//     view is, in the front's name.
//   - What the application does not answer in time is 504, what it cannot be asked 502,
//     and neither says why.
//   - No client holds up the judging of others: whoever ends an exchange does not wait
//     for it. Nor does the disk, or an issuer: what is known without them is told first,
//     and who has to wait for them lasts until they have answered, or are late.
//   - A client that takes nothing of an answer for two minutes is given up; nobody is who
//     has nothing to take.
package proxy
