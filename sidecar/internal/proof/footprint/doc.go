// Package footprint measures what a sidecar costs: the built program as a process of
// its own, beside a real broker in another that holds so many live revocations. How
// long until it is ready, from nothing and from a filled store; how much memory it
// takes while it catches up, once it has, and while it serves; how large its index is.
//
//	PROOF=full go test -v -timeout 2h -run TestFootprint ./sidecar/internal/proof/footprint
//
// By itself it is small and quick. -footprint.entries and -footprint.runs choose any
// size.
//
// Memory is the anonymous resident set (RssAnon in /proc/PID/status, proc(5)): what the
// pod is charged for and the kernel cannot take back. Badger maps its files; those
// pages are RssFile and can be dropped at any time. So it measures on Linux only.
package footprint
