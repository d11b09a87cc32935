package proxy

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// goodbye is what a client is told whose tunnel is ended: a code of RFC 6455 section
// 7.4.1, why, and until when it may take it.
type goodbye struct {
	code   uint16
	reason string
	until  time.Time
}

// tunnel is the client's end of an upgraded connection.
type tunnel struct {
	net.Conn

	mu    sync.Mutex
	ended *goodbye

	writing sync.Mutex // held while the client takes what is sent
	frames  frames
}

// maxDiscarded bounds what is read of a client that is being told to stop, in bytes.
const maxDiscarded = 1 << 20

// Write passes on what the application sends. A client that does not take it is given up.
func (t *tunnel) Write(p []byte) (int, error) {
	t.mu.Lock()
	if t.ended == nil {
		_ = t.SetWriteDeadline(time.Now().Add(stall))
	}
	t.mu.Unlock()
	t.writing.Lock()
	defer t.writing.Unlock()
	n, err := t.Conn.Write(p)
	t.frames.follow(p[:n])
	return n, err
}

// end says why [tunnel.Close] is about to come. It does not wait, and whoever waits for
// the client does so no longer than g says.
func (t *tunnel) end(g goodbye) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = &g
	_ = t.SetDeadline(g.until)
}

// Close tells a client that was ended why, where no frame is on its way, and gives it a
// moment to read that: closing with something unread takes back what was sent.
func (t *tunnel) Close() error {
	t.mu.Lock()
	g := t.ended
	t.mu.Unlock()
	if g == nil {
		return t.Conn.Close()
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.frames.between() {
		if _, err := t.Conn.Write(closeFrame(g.code, g.reason)); err == nil {
			t.linger()
		}
	}
	return t.Conn.Close()
}

func (t *tunnel) linger() {
	half, ok := t.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, t.Conn, maxDiscarded) // ends by the deadline at the latest
}

// opClose is the opcode of a close frame, maxReason what it may say in bytes (RFC 6455
// section 5.5), fin the bit that every control frame has.
const (
	opClose   = 0x8
	fin       = 0x80
	maxReason = 123
)

func closeFrame(code uint16, reason string) []byte {
	reason = reason[:min(len(reason), maxReason)]
	frame := []byte{fin | opClose, byte(2 + len(reason))} //nolint:gosec // at most 125
	return append(binary.BigEndian.AppendUint16(frame, code), reason...)
}

// frames follows where the application's frames begin and end (RFC 6455 section 5.2).
type frames struct {
	head   [14]byte
	have   int    // bytes of the head that have passed
	rest   uint64 // bytes of the payload that have not
	closed bool   // the application has said that it ends
}

// follow takes in what has been sent.
func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		if f.rest > 0 {
			n := min(f.rest, uint64(len(p)))
			f.rest -= n
			p = p[n:]
			continue
		}
		f.head[f.have] = p[0]
		f.have++
		p = p[1:]
		if f.have == f.headSize() {
			f.closed = f.closed || f.head[0]&0x0f == opClose
			f.rest, f.have = f.payload(), 0
		}
	}
}

// headSize is how long the head is, as far as it is known.
func (f *frames) headSize() int {
	if f.have < 2 {
		return 2
	}
	size := 2
	switch f.head[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.head[1]&0x80 != 0 {
		size += 4 // a mask, which no server should use
	}
	return size
}

// payload is the length that a whole head tells.
func (f *frames) payload() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}

// between reports whether a frame of one's own may follow.
func (f *frames) between() bool { return f.have == 0 && f.rest == 0 && !f.closed }
