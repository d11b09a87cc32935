// Package throughput holds benchmarks: how many logins (without the password hash),
// refreshes and revocations one machine carries, with the issuers, the broker and
// its disk on it, synced on every append and lazily.
//
//	go test -run '^$' -bench . -cpuprofile cpu.out ./services/internal/proof/throughput
package throughput
