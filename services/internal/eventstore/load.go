package eventstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// errBehind is a replica that has not applied what the caller already knows.
var errBehind = errors.New("replica is behind")

// Load gives the last message of every subject that matches, in order of
// sequence, as one replica knew them at one moment. Subjects may hold wildcards.
// A replica that has not reached atLeast is not believed: it is asked again, as
// others may answer. An empty answer is believed only if atLeast is zero.
//
// Errors match [events.ErrUnavailable], [events.ErrTooMany] or codec's.
func (j *Journal) Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, giveUpAfter)
	defer cancel()
	request, err := json.Marshal(map[string]any{"multi_last": subjects, "batch": events.MaxLoad})
	if err != nil {
		return nil, fmt.Errorf("loading %v: %w", subjects, err)
	}
	for {
		records, err := j.loadOnce(ctx, atLeast.Sequence, request)
		if err == nil {
			slices.SortFunc(records, func(a, b events.Record) int {
				return cmp.Compare(a.Position.Sequence, b.Position.Sequence)
			})
			return records, nil
		}
		if errors.Is(err, events.ErrTooMany) || errors.Is(err, codec.ErrMalformed) || errors.Is(err, codec.ErrInvalid) {
			return nil, fmt.Errorf("loading %v: %w", subjects, err)
		}
		if errors.Is(err, nats.ErrConnectionClosed) || pause(ctx) != nil {
			return nil, fmt.Errorf("loading %v: %w: %w", subjects, events.ErrUnavailable, err)
		}
	}
}

func (j *Journal) loadOnce(ctx context.Context, atLeast uint64, request []byte) ([]events.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	messages, err := j.loads.ask(ctx, "$JS.API.DIRECT.GET."+j.stream, request)
	if err != nil {
		return nil, err
	}
	messages, end := messages[:len(messages)-1], messages[len(messages)-1].Header
	records := make([]events.Record, 0, len(messages))
	var before uint64
	for _, m := range messages {
		if err := follows(m.Header, before); err != nil {
			return nil, err
		}
		r, err := record(m)
		if err != nil {
			return nil, err
		}
		before = r.Position.Sequence
		records = append(records, r)
	}
	return records, judge(end, before, atLeast)
}

// follows checks that nothing of an answer is missing: each message names the one
// before it. A record that got lost on the way might be the cut that denies.
func follows(h nats.Header, before uint64) error {
	if named := h.Get(jetstream.LastSequenceHeader); named != strconv.FormatUint(before, 10) {
		return fmt.Errorf("answer goes on after message %.20q, %d was the last", named, before)
	}
	return nil
}

// judge reads the message that ends an answer (ADR-31 of the NATS project), of which
// last was the message before. "No Results" is an answer; "Message Not Found" is a
// replica that failed to load what it had found, and is asked again.
func judge(h nats.Header, last, atLeast uint64) error {
	switch status := h.Get("Status"); {
	case status == "204":
		if err := follows(h, last); err != nil {
			return err
		}
		if pending := h.Get("Nats-Num-Pending"); pending != "0" {
			return fmt.Errorf("answer ended with %.20q messages missing", pending)
		}
		upTo, err := strconv.ParseUint(h.Get("Nats-UpTo-Sequence"), 10, 64)
		if err != nil {
			return fmt.Errorf("reading how far the replica is: %w", err)
		}
		if upTo < atLeast {
			return errBehind
		}
		return nil
	case status == "404" && h.Get("Description") == "No Results":
		if atLeast > 0 {
			return errBehind
		}
		return nil
	case status == "413":
		return events.ErrTooMany
	default:
		return fmt.Errorf("status %.20q %.80q", status, h.Get("Description"))
	}
}

func record(m *nats.Msg) (events.Record, error) {
	sequence, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return events.Record{}, fmt.Errorf("reading a sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return events.Record{}, fmt.Errorf("reading the time of message %d: %w", sequence, err)
	}
	r := events.Record{Subject: m.Header.Get(jetstream.SubjectHeader), Position: events.Position{Sequence: sequence}, Time: at}
	if r.Envelope, err = codec.Decode(m.Data); err != nil {
		return r, fmt.Errorf("decoding message %d: %w", sequence, err)
	}
	return r, nil
}
