package tokentest

import (
	"compress/flate"
	"fmt"
	"strings"
	"testing"
)

// trailingBits sets a bit that no byte of the value uses. A 64-byte signature has
// 86 characters, the last of which carries four spare bits.
func trailingBits(t testing.TB, s string) string {
	t.Helper()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	at := strings.IndexByte(alphabet, s[len(s)-1])
	if len(s) != 86 || at&15 != 0 {
		t.Fatalf("signature %q has no spare bits", s)
	}
	return s[:len(s)-1] + alphabet[at|1:at|1+1]
}

// Flip changes one character of a token's part.
func Flip(raw string, part int) string {
	parts := strings.Split(raw, ".")
	c := byte('A')
	if parts[part][0] == c {
		c = 'B'
	}
	parts[part] = string(c) + parts[part][1:]
	return strings.Join(parts, ".")
}

// Members are n members, each with a comma before it.
func Members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%d":0`, i)
	}
	return b.String()
}

// utf16 is ASCII text in UTF-16, as some write JSON.
func utf16(text string) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteString(text[i:i+1] + "\x00")
	}
	return b.String()
}

// deflated is n spaces, packed.
func deflated(t testing.TB, n int) string {
	t.Helper()
	var b strings.Builder
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(strings.Repeat(" ", n))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
