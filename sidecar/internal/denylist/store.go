package denylist

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/revocast/revocast/events"
)

// Cursor is how far the feed has been applied.
type Cursor struct {
	// Epoch names the life of the feed that Sequence belongs to.
	Epoch events.Epoch
	// Sequence is the last one applied.
	Sequence uint64
	// FreshAsOf: every entry that the feed held then had been applied.
	FreshAsOf time.Time
}

// ErrLost is in the error of a store that cannot give what it held, because its files
// are damaged or cannot be used. It stays so until [Batch.Anew] has it begin anew.
var ErrLost = errors.New("what the denylist had on disk is lost")

// Batch is a stretch of the feed. Any of it may have been applied before.
type Batch struct {
	// Anew has the store throw away all that it holds, or has lost, cursor included,
	// before it takes in the rest.
	Anew    bool
	Entries []events.Revocation
	// Lifted take entries back, those of the batch and any applied before or after
	// it. Their signatures have been verified.
	Lifted []events.Lift
	// Cursor is where the feed stands after the batch. The zero Cursor leaves it
	// where it was.
	Cursor Cursor
	// Begins says that the batches from this one on bring everything that the feed
	// holds. It matters to a [Denylist] whose store has lost something, and to no store.
	Begins bool
}

// Store is the disk behind a denylist. Package denylisttest holds the suite that
// proves one.
//
// Apply and Expire are called by one goroutine. Find and Load may be called beside
// them and beside one another. After any error the store may be asked again, and
// what it then gives is whole or an error again: it never forgets to deny. What was on
// disk and cannot be read is [ErrLost], never absent.
type Store interface {
	// Apply takes in entries and lifts, in canonical form. Entries are a set: those
	// of [SameRule] are one. All entries of a revocation id that is lifted are
	// removed, those of the same batch included, and the lift is remembered, to the
	// later of its deadlines. When Apply returns, Find and Load see the whole batch;
	// if it fails they may see a part of it, and Apply may be repeated.
	//
	// What a crash of the process or the machine leaves behind is the state after
	// some earlier batch, or more than that, with that state's cursor.
	Apply(batch Batch) error

	// Find gives the entries that name one target.
	Find(kind events.Kind, issuer events.Issuer, target string) ([]events.Revocation, error)

	// Load gives everything back in batches: first, always, one with cursor, lifts
	// and wide entries, then any number with narrow entries. All are of one moment,
	// that of the cursor, whatever is applied meanwhile; and nobody waits for the end.
	Load() iter.Seq2[Batch, error]

	// Expire removes what has expired at the time now, entries and lifts, and gives
	// the space back. It may stop early when ctx ends.
	Expire(ctx context.Context, now time.Time) error
}
