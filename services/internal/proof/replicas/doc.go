// Package replicas holds tests of several issuers on a real broker, which run for
// long: random commands against a small oracle, the device limit under a crowd of
// logins on one server and on a cluster, and a session that is refreshed until
// nobody counts any more.
//
// By default they are as long as continuous integration has time for; with
// PROOF=full in the environment they are as long as they are meant to be (see
// CONTRIBUTING.md).
package replicas
