// Package mutation asks whether the simulation would notice. It breaks package issue
// or package session in one known way after the other, without touching the files: the
// build takes the broken copy instead (go test -overlay). A simulation that still
// passes would not have found that defect in earnest.
//
// It takes some minutes, so it runs with PROOF=full in the environment only.
package mutation
