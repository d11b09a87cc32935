package codec_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

func sampleReport() events.Report {
	return events.Report{
		Sidecar: "checkout-7d9f", Instance: "01935f6a-0c00-4000-8000-000000000001", Replaces: "01935f6a-0c00-4000-8000-000000000002",
		Version: "v1.2.3", State: events.StateFollowing, Epoch: "01935f6a-0c00-7000-8000-00000000000e",
		Sequence: 1_763_800_000_000_123, Lag: 2, FreshAsOf: time.UnixMilli(1_763_800_000_456).UTC(),
		Entries: 1_000_000, Asked: 1_763_800_000_000_120, Held: 1234 * time.Microsecond,
	}
}

func sampleAsk() events.Ask {
	return events.Ask{Epoch: "01935f6a-0c00-7000-8000-00000000000e", Sequence: 1_763_800_000_000_120, Spread: 250 * time.Millisecond}
}

// Golden files hold one version's bytes for ever, as those of events do.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	file := filepath.Join("testdata", "fleet", name+".bin")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("encoded %x\nwant    %x", got, want)
	}
	return want
}

func TestReportGolden(t *testing.T) {
	b, err := codec.EncodeReport(sampleReport())
	if err != nil {
		t.Fatal(err)
	}
	back, err := codec.DecodeReport(golden(t, "report", b))
	if err != nil || !reflect.DeepEqual(back, sampleReport()) {
		t.Errorf("decoded %+v (%v)", back, err)
	}
	// A newer sidecar says more, and may be in a state that this version lacks.
	newer := protowire.AppendTag(bytes.Clone(b), 99, protowire.BytesType)
	newer = protowire.AppendBytes(newer, []byte("more"))
	newer = protowire.AppendTag(newer, 5, protowire.VarintType)
	newer = protowire.AppendVarint(newer, 42)
	back, err = codec.DecodeReport(newer)
	if want := sampleReport(); err != nil || back.State != events.StateUnknown || back.Sequence != want.Sequence {
		t.Errorf("a newer sidecar's report: %+v (%v)", back, err)
	}
}

func TestAskGolden(t *testing.T) {
	b, err := codec.EncodeAsk(sampleAsk())
	if err != nil {
		t.Fatal(err)
	}
	back, err := codec.DecodeAsk(golden(t, "ask", b))
	if err != nil || back != sampleAsk() {
		t.Errorf("decoded %+v (%v)", back, err)
	}
}

func TestReportsThatBreakARule(t *testing.T) {
	for name, change := range map[string]func(*events.Report){
		"no name":              func(r *events.Report) { r.Sidecar = "" },
		"name of two tokens":   func(r *events.Report) { r.Sidecar = "a.b" },
		"wildcard":             func(r *events.Report) { r.Sidecar = "*" },
		"long name":            func(r *events.Report) { r.Sidecar = strings.Repeat("a", 129) },
		"no instance":          func(r *events.Report) { r.Instance = "" },
		"instance no UUID":     func(r *events.Report) { r.Instance = "run-1" },
		"replaces no UUID":     func(r *events.Report) { r.Replaces = "run-0" },
		"line in the version":  func(r *events.Report) { r.Version = "v1\nINFO forged" },
		"escape in version":    func(r *events.Report) { r.Version = "v1\u009b2J" },
		"long epoch":           func(r *events.Report) { r.Epoch = events.Epoch(strings.Repeat("e", 257)) },
		"sequence, no epoch":   func(r *events.Report) { r.Epoch = "" },
		"sequence beyond JSON": func(r *events.Report) { r.Sequence = events.MaxSequence + 1 },
		"asked beyond applied": func(r *events.Report) { r.Asked = r.Sequence + 1 },
		"held what is not":     func(r *events.Report) { r.Asked = 0 },
		"held before":          func(r *events.Report) { r.Held = -1 },
		"held for days":        func(r *events.Report) { r.Held = 25 * time.Hour },
		"state beyond":         func(r *events.Report) { r.State = events.StateSignedOff + 1 },
		"freshness before":     func(r *events.Report) { r.FreshAsOf = time.Unix(-1, 0) },
	} {
		r := sampleReport()
		change(&r)
		if b, err := codec.EncodeReport(r); !errors.Is(err, codec.ErrInvalid) {
			t.Errorf("%s: wrote %x (%v)", name, b, err)
		}
	}
	for name, a := range map[string]events.Ask{
		"no epoch":    {Sequence: 1},
		"no sequence": {Epoch: "e"},
		"too wide":    {Spread: events.MaxSpread + time.Millisecond},
		"backwards":   {Spread: -time.Millisecond},
	} {
		if b, err := codec.EncodeAsk(a); !errors.Is(err, codec.ErrInvalid) {
			t.Errorf("%s: wrote %x (%v)", name, b, err)
		}
	}
	if _, err := codec.DecodeReport(make([]byte, codec.MaxReport+1)); !errors.Is(err, codec.ErrMalformed) {
		t.Errorf("a report that is too large: %v", err)
	}
}

func FuzzReport(f *testing.F) {
	report, err1 := codec.EncodeReport(sampleReport())
	ask, err2 := codec.EncodeAsk(sampleAsk())
	if err := errors.Join(err1, err2); err != nil {
		f.Fatal(err)
	}
	f.Add(report)
	f.Add(ask)
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := codec.DecodeReport(b); err == nil {
			again, err := codec.EncodeReport(r)
			if err != nil {
				t.Fatalf("read %+v, which cannot be written: %v", r, err)
			}
			if back, err := codec.DecodeReport(again); err != nil || !reflect.DeepEqual(back, r) {
				t.Fatalf("read %+v, then %+v (%v)", r, back, err)
			}
		}
		if a, err := codec.DecodeAsk(b); err == nil {
			again, err := codec.EncodeAsk(a)
			if err != nil {
				t.Fatalf("read %+v, which cannot be written: %v", a, err)
			}
			if back, err := codec.DecodeAsk(again); err != nil || back != a {
				t.Fatalf("read %+v, then %+v (%v)", a, back, err)
			}
		}
	})
}
