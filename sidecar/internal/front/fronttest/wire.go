package fronttest

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// patience is for what is bound to happen.
const patience = 30 * time.Second

// Send writes r in HTTP/1.1 to the server at address, over TCP, as it stands: no client
// in between puts it right, or refuses to send it.
func Send(t *testing.T, address string, r Request) Response {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", r.Method, r.Target, r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	return SendText(t, address, r.Method, b.String()+"\r\n")
}

// SendText writes any text and reads what is answered to it as to a request of that
// method.
func SendText(t *testing.T, address, method, text string) (answered Response) {
	t.Helper()
	exchange(t, address, []byte(text), func(c net.Conn) {
		answer, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		if err := answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
		answered = Response{Status: answer.StatusCode, Header: answer.Header}
	})
	return answered
}

// exchange writes all of text and has what comes read meanwhile: a server that has heard
// enough answers before the end.
func exchange(t *testing.T, address string, text []byte, read func(net.Conn)) {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = c.Write(text) // the server may have heard enough
	}()
	defer func() { _ = c.Close(); <-written }()
	read(c)
}

// SendHTTP2 writes r in HTTP/2, over TCP and without asking first, as it stands; message
// is its body. A stream that is reset instead of answered, or a connection that is
// ended, gives the zero Response: so HTTP/2 refuses what is no header (RFC 9113 sections
// 5.4 and 8.1.1). Names of trailers are among those of the header.
func SendHTTP2(t *testing.T, address string, r Request, message []byte) (answered Response) {
	t.Helper()
	exchange(t, address, frames(t, r, message), func(c net.Conn) {
		f := http2.NewFramer(c, c)
		f.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				answered = Response{} // ended
				return
			}
			switch frame := frame.(type) {
			case *http2.MetaHeadersFrame:
				if answered.Header == nil {
					answered = Response{Header: http.Header{}}
				}
				for _, h := range frame.Fields {
					if h.Name == ":status" {
						if _, err := fmt.Sscan(h.Value, &answered.Status); err != nil {
							t.Fatal(err)
						}
						continue
					}
					answered.Header.Add(h.Name, h.Value)
				}
			case *http2.RSTStreamFrame:
				if frame.ErrCode != http2.ErrCodeNo {
					answered = Response{}
				}
				return
			case *http2.GoAwayFrame:
				if frame.ErrCode != http2.ErrCodeNo {
					answered = Response{}
					return
				}
			}
			if h := frame.Header(); h.StreamID == 1 && h.Flags.Has(http2.FlagHeadersEndStream) && (h.Type == http2.FrameHeaders || h.Type == http2.FrameData) {
				return
			}
		}
	})
	return answered
}

// frames are a whole connection with r on it.
func frames(t *testing.T, r Request, message []byte) []byte {
	t.Helper()
	var header, all bytes.Buffer
	e := hpack.NewEncoder(&header)
	field := func(name, value string) {
		if err := e.WriteField(hpack.HeaderField{Name: name, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	for _, pseudo := range [][2]string{{":method", r.Method}, {":scheme", "http"}, {":path", r.Target}, {":authority", r.Host}} {
		field(pseudo[0], pseudo[1])
	}
	for name, values := range r.Header {
		for _, v := range values {
			field(strings.ToLower(name), v)
		}
	}
	all.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&all, nil)
	err := f.WriteSettings()
	const most = 16 << 10 // of a frame
	first := true
	for block := range slices.Chunk(header.Bytes(), most) {
		last := header.Len() <= most
		header.Next(len(block))
		if first {
			err = firstOf(err, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: last, EndStream: message == nil}))
		} else {
			err = firstOf(err, f.WriteContinuation(1, last, block))
		}
		first = false
	}
	if message != nil {
		err = firstOf(err, f.WriteData(1, true, message))
	}
	if err = firstOf(err, f.WriteSettingsAck()); err != nil {
		t.Fatal(err)
	}
	return all.Bytes()
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
