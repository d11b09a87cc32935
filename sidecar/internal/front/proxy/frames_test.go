package proxy

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// However the frames of a server are cut into writes, the places between them are known,
// and no others are taken for such.
func TestFrames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent []byte
		between := map[int]bool{0: true}
		for range rapid.IntRange(1, 6).Draw(t, "frames") {
			size := rapid.SampledFrom([]int{0, 1, 125, 126, 127, 300, 65535, 65536, 70000}).Draw(t, "payload")
			sent = append(sent, rapid.SampledFrom([]byte{0x81, 0x01, 0x80, 0x82, 0x89, 0xc1}).Draw(t, "opcode"))
			mask := rapid.SampledFrom([]byte{0, 0, 0x80}).Draw(t, "mask")
			switch {
			case size < 126:
				sent = append(sent, mask|byte(size))
			case size < 1<<16:
				sent = binary.BigEndian.AppendUint16(append(sent, mask|126), uint16(size))
			default:
				sent = binary.BigEndian.AppendUint64(append(sent, mask|127), uint64(size))
			}
			if mask != 0 {
				sent = append(sent, 1, 2, 3, 4)
			}
			sent = append(sent, bytes.Repeat([]byte{0x88}, size)...)
			between[len(sent)] = true
		}
		var f frames
		for at := 0; at < len(sent); {
			n := min(rapid.SampledFrom([]int{1, 2, 3, 9, 100, 65536}).Draw(t, "write"), len(sent)-at)
			f.follow(sent[at : at+n])
			if at += n; f.between() != between[at] {
				t.Fatalf("after %d bytes: between frames %t", at, f.between())
			}
		}
		f.follow([]byte{0x88, 2, 0x03, 0xe8})
		if f.between() {
			t.Fatal("the server has said that it ends, and it would be said again")
		}
	})
}

// A reason is cut to what a control frame can hold.
func TestCloseFrame(t *testing.T) {
	if got := closeFrame(codePolicy, string(bytes.Repeat([]byte{'x'}, 500))); len(got) != 127 || got[0] != 0x88 || got[1] != 125 || got[2] != 0x03 || got[3] != 0xf0 {
		t.Errorf("% x", got[:4])
	}
}
