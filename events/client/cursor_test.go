package client_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/client"
)

func TestZeroCursorMissesNothing(t *testing.T) {
	var c client.Cursor
	if c != client.Beginning {
		t.Fatal("the zero cursor is not the beginning")
	}
}

func TestCursorTextRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := client.Cursor(rapid.OneOf(
			rapid.Just(uint64(client.Beginning)), rapid.Just(uint64(client.Latest)),
			rapid.Uint64Range(1, events.MaxSequence),
		).Draw(t, "cursor"))
		got, err := client.ParseCursor(c.String())
		if err != nil || got != c {
			t.Fatalf("%q: got %v, %v", c.String(), got, err)
		}
		b, err := json.Marshal(map[string]client.Cursor{"at": c})
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]client.Cursor
		if err := json.Unmarshal(b, &back); err != nil || back["at"] != c {
			t.Fatalf("%s: got %v, %v", b, back, err)
		}
	})
}

func TestCursorIsStrict(t *testing.T) {
	for _, s := range []string{
		"", "0", "00", "01", "+1", "-1", " 1", "1 ", "1.0", "1e3", "0x1", "1_000", "١",
		"Latest", "begin", "9007199254740992", "18446744073709551615", strings.Repeat("9", 400),
	} {
		if c, err := client.ParseCursor(s); !errors.Is(err, client.ErrCursor) || c != client.Beginning {
			t.Errorf("%q: got %v, %v", s, c, err)
		}
		c := client.Cursor(7)
		if err := c.UnmarshalText([]byte(s)); err == nil || c != 7 {
			t.Errorf("unmarshalling %q: got %v, %v", s, c, err)
		}
	}
}

// Whatever text is taken for a cursor is the text that this cursor has.
func TestCursorHasOneText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[ +0-9a-z]{0,20}`).Draw(t, "text")
		if c, err := client.ParseCursor(s); err == nil && c.String() != s {
			t.Fatalf("%q reads as %v", s, c)
		}
	})
}
