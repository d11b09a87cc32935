// Package page makes one HTML file of results: tables, objectives, remarks, and plots
// that can be read off and zoomed into by pointing at them.
//
// On the screen the plots are drawn by uPlot, which is in vendored. On paper, and where
// no script runs, the drawings of package chart are shown instead: they stay sharp at
// any size and do not depend on how wide the window was.
//
// Invariants:
//
//   - The file loads nothing from anywhere: its policy forbids it, and lets no script or
//     style run but its own, by their hashes.
//   - No name, setting or remark of a result can become markup or script.
package page
