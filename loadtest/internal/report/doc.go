// Package report shows what a run measured: as it runs, as text for people, and as
// JSON for programs.
package report
