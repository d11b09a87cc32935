package eventstore

import (
	"context"
	"iter"

	"github.com/revocast/revocast/events"
)

// Latest gives the last message of every subject that matches, however many there
// are, in order of sequence, as one replica knew them when it began. Nothing is missing
// unless an error, [events.ErrUnavailable], is the last thing given. It costs the server
// a consumer for as long as it runs; [Journal.Load] is for what one answer holds.
func (j *Journal) Latest(ctx context.Context, subjects ...string) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		history := History{js: j.js, stream: j.stream}
		for past, err := range history.Read(ctx, Range{Subjects: subjects, Last: true}) {
			if !yield(past.Record, err) || err != nil {
				return
			}
		}
	}
}
