package replica_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

var update = flag.Bool("update", false, "rewrite what the scenarios under testdata expect")

// Each file under testdata is a story. A line that begins in the first column is
// an input, the indented lines below it are what the machine did and claims:
//
//	cursor EPOCH:SEQ fresh TIME    begin again from this cursor (before other inputs)
//	buffer MESSAGES BYTES          begin again with this room
//	connected | disconnected | tick | lost
//	wait DURATION                  the clock moves on
//	live SEQ EVENT [stored TIME]   a live message, stored now and of 100 bytes
//	live SEQ EVENT [size BYTES]    unless it says otherwise
//	batch LAST EVENT…              the answer to the latest fetch
//	nothing | failed               or no answer
//	stale LAST EVENT…              the answer to the fetch before it
//	jump DURATION                  the wall clock here is set forward or back
//	named EPOCH                    a heartbeat that was read, stored now
//	snapshots                      begin again as one who may load snapshots
//	part EVENT…                    some of the snapshot asked for last
//	loaded SEQ asof TIME           or all of it
//	not-loaded                     or nothing that is good
//	refuse | forget                how the next Apply ends, instead of Applied
//
// Times are durations since the story began. Events are beat:EPOCH, revoke:ID,
// lift:ID, key:ID and retire:ID (signed), forged:ID, forgedkey:ID and forgedretire:ID
// (the same, unsigned), session, unknown, malformed.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := retell(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("the machine tells it differently (rewrite with -update):\n%s", got)
			}
		})
	}
}

// retell runs a story and writes it with what the machine really did.
func retell(text string) (string, error) {
	s := &story{now: began}
	s.restart(replica.Config{}, replica.Cursor{})
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		fmt.Fprintln(&s.out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := s.tell(strings.Fields(line)); err != nil {
			return "", fmt.Errorf("line %d, %q: %w", n+1, line, err)
		}
	}
	return s.out.String(), nil
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type story struct {
	out     strings.Builder
	now     time.Time
	ahead   time.Duration // by how much the wall clock here is
	config  replica.Config
	machine *replica.Machine
	fetches []replica.Fetch
	load    uint64
	ending  string // of the next Apply
}

func (s *story) restart(c replica.Config, cursor replica.Cursor) {
	c.VerifyLift = func(l events.Lift) bool { return len(l.Signature) > 0 }
	c.VerifyKey = func(k events.Key) bool { return string(k.Signature) == "key" }
	c.VerifyRetirement = func(k events.Key) bool { return string(k.Signature) == "retire" }
	s.config, s.machine, s.fetches = c, replica.New(c, cursor), nil
}

var errScenario = errors.New("not understood")

// local is what the clock here says.
func (s *story) local() time.Time { return s.now.Add(s.ahead) }

func (s *story) tell(words []string) error {
	verb, rest := words[0], words[1:]
	switch {
	case verb == "cursor" && len(rest) == 3:
		fresh, err := time.ParseDuration(rest[2])
		epoch, sequence, ok := strings.Cut(rest[0], ":")
		n, err2 := strconv.ParseUint(sequence, 10, 64)
		if err = errors.Join(err, err2); err != nil || !ok {
			return errors.Join(errScenario, err)
		}
		s.restart(s.config, replica.Cursor{Epoch: events.Epoch(epoch), Sequence: n, FreshAsOf: began.Add(fresh)})
	case verb == "buffer" && len(rest) == 2:
		messages, err := strconv.Atoi(rest[0])
		bytes, err2 := strconv.Atoi(rest[1])
		if err = errors.Join(err, err2); err != nil {
			return err
		}
		s.restart(replica.Config{MaxMessages: messages, MaxBytes: bytes}, replica.Cursor{})
		return nil
	case verb == "wait" && len(rest) == 1:
		d, err := time.ParseDuration(rest[0])
		s.now = s.now.Add(d)
		return err
	case verb == "jump" && len(rest) == 1:
		d, err := time.ParseDuration(rest[0])
		s.ahead += d
		if err != nil {
			return err
		}
	case verb == "named" && len(rest) == 1:
		s.perform(s.machine.Named(events.Epoch(rest[0]), s.local()))
	case verb == "snapshots":
		s.restart(replica.Config{Snapshots: true}, replica.Cursor{})
		return nil
	case verb == "part":
		b, err := parseEvents(rest)
		if err != nil {
			return err
		}
		s.perform(s.machine.Part(s.load, nil, b))
	case verb == "loaded" && len(rest) == 3 && rest[1] == "asof":
		sequence, err := strconv.ParseUint(rest[0], 10, 64)
		asOf, err2 := time.ParseDuration(rest[2])
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		s.perform(s.machine.Loaded(s.load, sequence, began.Add(asOf)))
	case verb == "not-loaded":
		s.perform(s.machine.NotLoaded(s.load))
	case verb == "refuse", verb == "forget":
		s.ending = verb
		return nil
	case verb == "connected":
		s.perform(s.machine.Connected(s.local()))
	case verb == "disconnected":
		s.machine.Disconnected()
	case verb == "lost":
		s.perform(s.machine.Restart())
	case verb == "tick":
		s.perform(s.machine.Tick(s.local()))
	case verb == "live" && len(rest) >= 2:
		m, err := s.live(rest)
		if err != nil {
			return err
		}
		s.perform(s.machine.Live(m))
	case len(s.fetches) == 0:
		return fmt.Errorf("%w, or nothing was fetched", errScenario)
	case verb == "nothing":
		s.perform(s.machine.Nothing(s.fetches[len(s.fetches)-1].ID))
	case verb == "failed":
		s.perform(s.machine.Failed(s.fetches[len(s.fetches)-1].ID))
	case (verb == "batch" || verb == "stale" && len(s.fetches) > 1) && len(rest) > 0:
		b, err := s.batch(rest)
		if err != nil {
			return err
		}
		if verb == "stale" {
			b.ID = s.fetches[len(s.fetches)-2].ID
		}
		s.perform(s.machine.Fetched(b, s.local()))
	default:
		return errScenario
	}
	s.claim()
	return nil
}

func (s *story) live(words []string) (replica.Message, error) {
	sequence, err := strconv.ParseUint(words[0], 10, 64)
	if err != nil {
		return replica.Message{}, err
	}
	m := replica.Message{Sequence: sequence, Stored: s.now, Arrived: s.local(), Elapsed: s.now.Sub(began), Size: 100}
	if m.Event, err = parseEvent(words[1]); err != nil {
		return replica.Message{}, err
	}
	switch {
	case len(words) == 2:
		return m, nil
	case len(words) == 4 && words[2] == "stored":
		d, err := time.ParseDuration(words[3])
		m.Stored = began.Add(d)
		return m, err
	case len(words) == 4 && words[2] == "size":
		m.Size, err = strconv.Atoi(words[3])
		return m, err
	}
	return m, errScenario
}

func (s *story) batch(words []string) (replica.Batch, error) {
	b := replica.Batch{ID: s.fetches[len(s.fetches)-1].ID}
	var err error
	if b.Last, err = strconv.ParseUint(words[0], 10, 64); err != nil {
		return b, err
	}
	b.Events, err = parseEvents(words[1:])
	return b, err
}

func parseEvents(words []string) (list []events.Event, err error) {
	for _, w := range words {
		e, err := parseEvent(w)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

func parseEvent(word string) (events.Event, error) {
	kind, id, _ := strings.Cut(word, ":")
	switch kind {
	case "beat":
		return events.Heartbeat{Epoch: events.Epoch(id)}, nil
	case "revoke":
		return events.Revoked{Revocation: events.Revocation{ID: events.RevocationID(id)}}, nil
	case "lift":
		return events.Lifted{Lift: events.Lift{RevocationID: events.RevocationID(id), Signature: []byte{1}}}, nil
	case "forged":
		return events.Lifted{Lift: events.Lift{RevocationID: events.RevocationID(id)}}, nil
	case "key":
		return events.KeyAdded{Key: events.Key{ID: events.KeyID(id), Signature: []byte("key")}}, nil
	case "forgedkey":
		return events.KeyAdded{Key: events.Key{ID: events.KeyID(id), Signature: []byte("retire")}}, nil
	case "retire":
		return events.KeyRetired{Key: events.Key{ID: events.KeyID(id), Signature: []byte("retire")}}, nil
	case "forgedretire":
		return events.KeyRetired{Key: events.Key{ID: events.KeyID(id), Signature: []byte("key")}}, nil
	case "session":
		return events.SessionStarted{}, nil
	case "unknown":
		return events.Unknown{Number: 99}, nil
	case "malformed":
		return nil, nil //nolint:nilnil // that is what it is
	}
	return nil, fmt.Errorf("event %q: %w", word, errScenario)
}

// perform does what the machine wants and writes it down.
func (s *story) perform(e replica.Effects) {
	for e.Apply != nil {
		a := e.Apply
		fmt.Fprintf(&s.out, "  apply to %s", cursorText(a.Cursor))
		if a.Begins {
			s.out.WriteString(" from the beginning")
		}
		for _, r := range a.Entries {
			fmt.Fprintf(&s.out, " revoke:%s", r.ID)
		}
		for _, l := range a.Lifts {
			fmt.Fprintf(&s.out, " lift:%s", l.RevocationID)
		}
		for _, k := range a.Keys {
			fmt.Fprintf(&s.out, " key:%s", k.ID)
		}
		for _, k := range a.Retired {
			fmt.Fprintf(&s.out, " retire:%s", k.ID)
		}
		ending := s.ending
		s.ending = ""
		switch ending {
		case "forget":
			fmt.Fprintln(&s.out, ", forgotten")
			return
		case "refuse":
			fmt.Fprintln(&s.out, ", refused")
			e = s.machine.NotApplied()
		default:
			fmt.Fprintln(&s.out)
			e = s.machine.Applied()
		}
	}
	if l := e.Load; l != nil {
		s.load = l.ID
		fmt.Fprintf(&s.out, "  load a snapshot of %s\n", l.Epoch)
	}
	if f := e.Fetch; f != nil {
		s.fetches = append(s.fetches, *f)
		fmt.Fprintf(&s.out, "  fetch from %d", f.From)
		if !f.Since.IsZero() {
			fmt.Fprintf(&s.out, " since %v", f.Since.Sub(began))
		}
		if f.After > 0 {
			fmt.Fprintf(&s.out, " after %v", f.After)
		}
		fmt.Fprintln(&s.out)
	}
}

func (s *story) claim() {
	st := s.machine.State()
	fmt.Fprintf(&s.out, "  %v %s of %d", st.Phase, cursorText(st.Cursor), st.Target)
	if st.CaughtUp {
		fmt.Fprint(&s.out, ", caught up")
	}
	if skew := st.Skew(s.local(), s.now.Sub(began)); skew != 0 {
		fmt.Fprintf(&s.out, ", skew %v", skew)
	}
	for _, c := range []struct {
		name  string
		count uint64
	}{
		{"resyncs", st.Resyncs},
		{"snapshots", st.Snapshots},
		{"repairs", st.Repairs},
		{"overflows", st.Overflows},
		{"duplicates", st.Duplicates},
		{"failed fetches", st.FailedFetches},
		{"failed applies", st.FailedApplies},
		{"malformed", st.Malformed},
		{"unknown", st.Unknown},
		{"unsigned", st.Unsigned},
		{"ignored", st.Ignored},
	} {
		if c.count > 0 {
			fmt.Fprintf(&s.out, ", %s %d", c.name, c.count)
		}
	}
	fmt.Fprintln(&s.out)
}

func cursorText(c replica.Cursor) string {
	fresh := "never"
	if !c.FreshAsOf.IsZero() {
		fresh = c.FreshAsOf.Sub(began).String()
	}
	return fmt.Sprintf("%s:%d fresh %s", c.Epoch, c.Sequence, fresh)
}
