package client

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/revocast/revocast/events"
)

// Cursor is a place among a realm's events: behind the event that was delivered
// with it. It stays valid as long as the realm's EVENTS stream lives, whatever
// connection, process or version reads it. Cursors of one realm order its events.
type Cursor uint64

const (
	// Beginning lies before the oldest event still held. It is the zero Cursor, so
	// that whoever has kept none misses nothing.
	Beginning Cursor = 0
	// Latest lies behind the newest event of the moment.
	Latest Cursor = math.MaxUint64
)

// The text of the cursors that are not numbers.
const (
	beginningText = "beginning"
	latestText    = "latest"
)

// String gives the form [ParseCursor] reads: "beginning", "latest" or a decimal
// number.
func (c Cursor) String() string {
	switch c {
	case Beginning:
		return beginningText
	case Latest:
		return latestText
	}
	return strconv.FormatUint(uint64(c), 10)
}

// ErrCursor is returned for text that is not a cursor.
var ErrCursor = errors.New("not a cursor: want beginning, latest or the number given with an event")

// ParseCursor is the inverse of [Cursor.String], and strict. Anything else is
// [ErrCursor].
func ParseCursor(s string) (Cursor, error) {
	switch s {
	case beginningText:
		return Beginning, nil
	case latestText:
		return Latest, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 || n > events.MaxSequence || strconv.FormatUint(n, 10) != s {
		return Beginning, ErrCursor
	}
	return Cursor(n), nil
}

// MarshalText makes a Cursor a string in JSON and a flag (flag.TextVar).
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *Cursor) UnmarshalText(text []byte) error {
	parsed, err := ParseCursor(string(text))
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}

// LostError says that events are no longer there to be delivered: the reader was
// away for longer than the realm keeps them, or the broker lost them.
type LostError struct {
	// From is the cursor that was asked for or had been reached.
	From Cursor
	// To is where what is left begins: behind the last lost event. It is
	// [Beginning] if From is a place that the broker has never reached, as after
	// the stream was put back to an earlier state.
	To Cursor
}

// Error says between which cursors the loss lies.
func (e *LostError) Error() string {
	if e.To == Beginning {
		return fmt.Sprintf("the broker holds nothing up to cursor %s: its events are others than those read before", e.From)
	}
	return fmt.Sprintf("events lost: those behind cursor %s up to %s", e.From, e.To)
}
