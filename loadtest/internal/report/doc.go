// Package report is the form in which every scenario says what it measured, and what
// makes text, JSON and benchstat's format of it. Drawings are in chart, the page for a
// browser in page, comparisons in diff.
//
// Invariants:
//
//   - A result that was written is read back as it was.
//   - A file is replaced as a whole or not at all.
//   - Samples are merged only of runs that asked for the same, by one version on one
//     machine; no run counts twice.
package report
