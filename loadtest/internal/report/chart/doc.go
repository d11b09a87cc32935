// Package chart draws the plots of results: as SVG, for paper and documents, and by
// saying over what and how they are drawn, for the page that draws them in a browser.
//
// Invariants:
//
//   - The same plot is the same SVG, byte for byte.
//   - Series are told apart without colour too.
//   - What cannot be drawn (not a number, or zero on a logarithmic axis) is left out;
//     no plot makes it panic.
package chart
