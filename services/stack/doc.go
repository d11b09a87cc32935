// Package stack runs Revocast's real binaries as processes: issuers with their
// embedded broker, and sidecars, all on the loopback interface and all below one
// directory. The commands `revocast demo` and `revocast dev` are made of it, and so
// are the tests that kill -9 and restart what they test.
//
// [Start] brings up one issuer and the sidecars asked for and returns when every one
// says that it is ready. Further issuers and sidecars can join. Each is a [Server],
// which can be stopped, killed, suspended and started again with other flags.
//
// Invariants:
//
//   - Nothing is written outside the directory: every process has it as its working
//     directory and its place for temporary files.
//   - Only processes that this package started are ever signalled, by a handle that
//     the kernel does not give to another process.
//   - What is started ends: in the order last in, first out when asked, and on Linux
//     also when the parent is killed.
//   - The REVOCAST_ variables of whoever runs this do not reach the processes.
package stack
