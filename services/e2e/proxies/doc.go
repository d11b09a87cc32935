// Package proxies runs real reverse proxies with the configurations of deploy/proxies
// in front of an application, each beside a real sidecar, and has the application say
// what reached it: under load while sessions are revoked, with the sidecar frozen and
// killed, with forged identity headers, and with paths that servers read differently.
//
// The proxies are looked for in the directory that REVOCAST_PROXIES names; without it,
// or for one that is not there, the tests are skipped. `make proxies` installs them and
// runs the tests.
package proxies
