// Package against measures verification beside what else one could do, all in one run
// on one machine: golang-jwt parsing the same tokens, and this very library asking a
// Redis on the same host, instead of its index, what has been revoked.
//
//	scripts/install-bench-tools.sh
//	cd sidecar/internal/proof/against && PROOF=full GOWORK=off go test -v -run TestAgainst .
//
// By itself it is small, and leaves Redis out where there is none. It is a module of
// its own, so that the sidecar needs no Redis client.
package against
