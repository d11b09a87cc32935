package snapshot

import (
	"encoding/binary"
	"fmt"
)

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader reads what was appended. After the first fault it gives zeros; end says
// whether there was one.
type reader struct {
	b     []byte
	wrong bool
}

func (r *reader) fail() uint64 {
	r.wrong, r.b = true, nil
	return 0
}

func (r *reader) uvarint(atMost uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > atMost {
		return r.fail()
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes gives the next n, which share memory with what is read; nil after a fault.
func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) text(atMost uint64) string {
	return string(r.bytes(int(r.uvarint(atMost)))) //nolint:gosec // bounded by atMost
}

func (r *reader) end() error {
	if r.wrong || len(r.b) > 0 {
		return fmt.Errorf("%w: damaged, or of a later version", ErrInvalid)
	}
	return nil
}
