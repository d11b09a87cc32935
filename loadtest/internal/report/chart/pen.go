package chart

// Pen is how a series is drawn, the same on paper and on the screen.
type Pen struct {
	// Light and Dark are colours, as #rrggbb, to be seen on white and on near black.
	Light string `json:"light"`
	Dark  string `json:"dark"`
	// Dash is the lengths of strokes and gaps, in widths of a line of one point; none is
	// a line without gaps.
	Dash []float64 `json:"dash"`
}

// PenOf is the pen of series n, from 0. The first forty-two differ in colour, in dashes
// or in both, and neighbours in both.
func PenOf(n int) Pen {
	colours := [...][2]string{
		{"#0b5cad", "#74b6ff"},
		{"#b3261e", "#ff8f86"},
		{"#1b7037", "#72d492"},
		{"#7d3fb8", "#cfa6ff"},
		{"#9a5200", "#ffb659"},
		{"#006b7d", "#55d3e3"},
		{"#555555", "#c4c4c4"},
	}
	dashes := [...][]float64{{}, {8, 4}, {2, 3}, {10, 3, 2, 3}, {18, 5}, {10, 3, 2, 3, 2, 3}}
	colour := colours[n%len(colours)]
	return Pen{Light: colour[0], Dark: colour[1], Dash: dashes[n%len(dashes)]}
}
