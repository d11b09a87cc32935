package token

import (
	"iter"
	"slices"
)

// Texts are the values of one claim, in the token's order. Nobody can change them,
// so that all who ask for a token can be given the same ones.
type Texts struct{ list []string }

// NewTexts keeps a copy of list.
func NewTexts(list ...string) Texts { return Texts{slices.Clone(list)} }

// Len is how many there are.
func (t Texts) Len() int { return len(t.list) }

// Has reports whether text is one of them.
func (t Texts) Has(text string) bool { return slices.Contains(t.list, text) }

// All gives them one by one.
func (t Texts) All() iter.Seq[string] { return slices.Values(t.list) }

// Slice gives them as a slice of the caller's own; nil if there are none.
func (t Texts) Slice() []string { return slices.Clone(t.list) }
