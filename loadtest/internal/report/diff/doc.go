// Package diff compares results of two runs, cell by cell.
//
// Invariants:
//
//   - A difference is called better or worse only if the samples of the two lie apart,
//     or if a test says that they hardly come from the same distribution.
//   - What only one of them has is listed, never left out.
//   - What makes them less comparable (machines, settings, an interruption, too few
//     samples) is said.
package diff
