package codec

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"

	"github.com/revocast/revocast/events"
	eventsv1 "github.com/revocast/revocast/events/proto/revocast/events/v1"
)

// MaxReport bounds an encoded report or ask in bytes.
const MaxReport = 1 << 10

const (
	maxSidecar = 128
	// maxHeld bounds how long something has been enforced.
	maxHeld = 24 * time.Hour
	// maxCount bounds what is counted, to what a JSON number says exactly.
	maxCount = events.MaxSequence
)

// EncodeReport validates r and gives its bytes, the same for equal reports. Times are
// cut to the units that the fields name.
func EncodeReport(r events.Report) ([]byte, error) {
	if err := validateReport(r); err != nil {
		return nil, err
	}
	return marshalSmall(&eventsv1.Report{
		Sidecar: r.Sidecar, Instance: uuidBytes(r.Instance), Replaces: uuidBytes(r.Replaces), Version: r.Version,
		State: eventsv1.SidecarState(r.State), Epoch: string(r.Epoch), Sequence: r.Sequence, Lag: r.Lag,
		FreshAsOfMs: millis(r.FreshAsOf), Entries: r.Entries, Asked: r.Asked, HeldUs: r.Held.Microseconds(),
	})
}

// DecodeReport reads one report, hostile or not. It keeps no reference to b. A state
// that this version does not know is [events.StateUnknown]. Errors match [ErrMalformed]
// or [ErrInvalid].
func DecodeReport(b []byte) (events.Report, error) {
	var m eventsv1.Report
	if err := unmarshalSmall(b, &m); err != nil {
		return events.Report{}, err
	}
	r := events.Report{
		Sidecar: m.GetSidecar(), Instance: uuidText(m.GetInstance()), Replaces: uuidText(m.GetReplaces()), Version: m.GetVersion(),
		Epoch: events.Epoch(m.GetEpoch()), Sequence: m.GetSequence(), Lag: m.GetLag(),
		FreshAsOf: fromMillis(m.GetFreshAsOfMs()), Entries: m.GetEntries(), Asked: m.GetAsked(),
	}
	if s := m.GetState(); s > 0 && s <= eventsv1.SidecarState(events.StateSignedOff) {
		r.State = events.SidecarState(s)
	}
	us := m.GetHeldUs()
	if us < 0 || us > maxHeld.Microseconds() {
		return events.Report{}, fmt.Errorf("%w: held for %d microseconds", ErrInvalid, us)
	}
	r.Held = time.Duration(us) * time.Microsecond
	return r, validateReport(r)
}

// EncodeAsk validates a and gives its bytes.
func EncodeAsk(a events.Ask) ([]byte, error) {
	if err := validateAsk(a); err != nil {
		return nil, err
	}
	return marshalSmall(&eventsv1.Ask{Epoch: string(a.Epoch), Sequence: a.Sequence, SpreadMs: a.Spread.Milliseconds()})
}

// DecodeAsk reads one ask as [DecodeReport] does a report.
func DecodeAsk(b []byte) (events.Ask, error) {
	var m eventsv1.Ask
	if err := unmarshalSmall(b, &m); err != nil {
		return events.Ask{}, err
	}
	ms := m.GetSpreadMs()
	if ms < 0 || ms > events.MaxSpread.Milliseconds() {
		return events.Ask{}, fmt.Errorf("%w: spread over %d ms", ErrInvalid, ms)
	}
	a := events.Ask{Epoch: events.Epoch(m.GetEpoch()), Sequence: m.GetSequence(), Spread: time.Duration(ms) * time.Millisecond}
	return a, validateAsk(a)
}

func validateReport(r events.Report) error {
	c := &checker{}
	c.name("sidecar", r.Sidecar)
	c.uuid("instance", r.Instance)
	if r.Replaces != "" {
		c.uuid("instance replaced", r.Replaces)
	}
	c.text("version", r.Version, maxText)
	if strings.ContainsFunc(r.Version, func(c rune) bool { return !unicode.IsPrint(c) }) {
		c.fail("version cannot be printed") // and goes to operators' terminals
	}
	c.text("epoch", string(r.Epoch), maxText)
	if r.State > events.StateSignedOff {
		c.fail("state %d", r.State)
	}
	if max(r.Sequence, r.Lag, r.Entries) > maxCount || r.Asked > r.Sequence {
		c.fail("a number is out of range")
	}
	if r.Epoch == "" && r.Sequence > 0 {
		c.fail("a sequence without an epoch")
	}
	if r.Held < 0 || r.Held > maxHeld || r.Held > 0 && r.Asked == 0 {
		c.fail("held for %s", r.Held)
	}
	c.time("freshness", r.FreshAsOf)
	return c.err
}

func validateAsk(a events.Ask) error {
	c := &checker{}
	c.text("epoch", string(a.Epoch), maxText)
	if a.Sequence > maxCount || (a.Sequence > 0) != (a.Epoch != "") {
		c.fail("sequence %d of epoch %q", a.Sequence, a.Epoch)
	}
	if a.Spread < 0 || a.Spread > events.MaxSpread {
		c.fail("spread over %s", a.Spread)
	}
	return c.err
}

// name accepts what can be one token of a subject, as package subject does.
func (c *checker) name(what, s string) {
	bad := strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if bad || s == "" || len(s) > maxSidecar {
		c.fail("%s is not 1 to %d letters, digits, '-' and '_'", what, maxSidecar)
	}
}

func marshalSmall(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(b) > MaxReport {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalid, len(b), MaxReport)
	}
	return b, nil
}

func unmarshalSmall(b []byte, m proto.Message) error {
	if len(b) > MaxReport {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(b), MaxReport)
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}
