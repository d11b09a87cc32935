// Package strict reads the two text forms that JOSE objects are made of, JSON
// (RFC 8259) and base64url (RFC 7515 section 2), with one reading for every
// text. Where a lenient reader would have to choose (the first or the last of
// two equal members, a replacement for bytes that are not UTF-8), this one
// refuses, because the next reader of the same bytes may choose otherwise.
//
// Invariants:
//
//   - What it accepts, encoding/json accepts too and reads alike.
//   - An accepted text is one JSON object, valid UTF-8, with no member named
//     twice at any depth (RFC 8725 section 3.10, RFC 7519 section 4), no NUL and
//     no unpaired surrogate in any string, no number that overflows a float64.
//   - Time and memory are bounded by the length of the text and by [Limits].
//   - A value handed out is a part of the text it was read from: nothing is
//     copied except strings that hold escapes.
package strict
