//go:build linux

package fronts

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// grpcCaller asks as Envoy does, which has one connection a thread and as many calls
// on it as there are requests.
type grpcCaller struct {
	conn   *grpcConn
	answer chan error
	passes bool
	frame  bytes.Buffer
}

// grpcConn speaks just enough HTTP/2 to cost the client little: grpc-go's client takes
// more of its core for a call than a server of its own does.
type grpcConn struct {
	net.Conn

	headers []byte // of every request, in HPACK without a table

	mu     sync.Mutex
	framer *http2.Framer
	last   uint32
	calls  map[uint32]*grpcCaller
	fault  error
}

const (
	// threads of the proxy that asks.
	threads = 2
	// plenty is room for all that a connection is ever answered.
	plenty = 1<<31 - 1 - 1<<16
)

// callers share connections, which last as long as the test.
func callers(t *testing.T, address string) func() (caller, error) {
	t.Helper()
	var conns []*grpcConn
	for range threads {
		conns = append(conns, dialGRPC(t, address))
	}
	var next atomic.Int64
	return func() (caller, error) {
		return &grpcCaller{conn: conns[next.Add(1)%threads], answer: make(chan error, 1)}, nil
	}
}

func dialGRPC(t *testing.T, address string) *grpcConn {
	t.Helper()
	network := "tcp"
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, address = "unix", path
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the server may be gone
	var headers bytes.Buffer
	encoder := hpack.NewEncoder(&headers)
	encoder.SetMaxDynamicTableSize(0)
	headers.Reset() // every block would say so
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", authv3.Authorization_Check_FullMethodName},
		{":authority", "sidecar"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
	} {
		if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true}); err != nil {
			t.Fatal(err)
		}
	}
	c := &grpcConn{Conn: conn, headers: headers.Bytes(), framer: http2.NewFramer(conn, bufio.NewReaderSize(conn, 64<<10)), calls: map[uint32]*grpcCaller{}}
	_, err = conn.Write([]byte(http2.ClientPreface))
	err = errors.Join(err, c.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}), c.framer.WriteWindowUpdate(0, plenty))
	if err != nil {
		t.Fatal(err)
	}
	go c.read() // until the connection is closed
	return c
}

// read hands out answers.
func (c *grpcConn) read() {
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			c.end(err)
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.reply(c.framer.WriteSettingsAck)
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				c.reply(func() error { return c.framer.WritePing(true, f.Data) })
			}
		case *http2.DataFrame:
			c.take(f.StreamID, func(call *grpcCaller) bool {
				call.passes = says(f.Data())
				return false
			})
		case *http2.HeadersFrame:
			c.take(f.StreamID, func(*grpcCaller) bool { return f.StreamEnded() })
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			c.end(fmt.Errorf("%s", frame))
			return
		}
	}
}

// says reports whether a CheckResponse behind gRPC's five bytes has status OK: its first
// field, with no code or that of nothing.
func says(data []byte) bool {
	const status = 0x0a
	return len(data) > 6 && data[5] == status && (data[6] == 0 || data[6] == 2 && data[8] == 0)
}

func (c *grpcConn) reply(write func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = write() // reading will tell
}

func (c *grpcConn) take(stream uint32, take func(*grpcCaller) (over bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.calls[stream]; call != nil && take(call) {
		delete(c.calls, stream)
		call.answer <- nil
	}
}

func (c *grpcConn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = err
	for _, call := range c.calls {
		call.answer <- err
	}
	clear(c.calls)
}

func (*grpcCaller) close() error { return nil }

func (c *grpcCaller) call(token string) (bool, error) {
	c.passes = false
	if err := c.conn.ask(c, question(token)); err != nil {
		return false, err
	}
	err := <-c.answer
	return c.passes, err
}

// ask sends a call in one write.
func (c *grpcConn) ask(call *grpcCaller, message []byte) error {
	call.frame.Reset()
	call.frame.Write([]byte{0, 0, 0, 0, 0})
	binary.BigEndian.PutUint32(call.frame.Bytes()[1:], uint32(len(message)))
	call.frame.Write(message)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != nil {
		return c.fault
	}
	c.last += 2
	stream := c.last - 1
	c.calls[stream] = call
	var out bytes.Buffer
	framer := http2.NewFramer(&out, nil)
	err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.headers, EndHeaders: true})
	err = errors.Join(err, framer.WriteData(stream, true, call.frame.Bytes()))
	if err == nil {
		_, err = c.Write(out.Bytes())
	}
	return err
}

// question is what Envoy tells of a request, but for the token the same each time.
func question(token string) []byte {
	http := slices.Clone(constantly)
	http = entry(http, "authorization", "Bearer "+token)
	inner := func(number protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), b)
	}
	return inner(1, inner(4, inner(2, http)))
}

// constantly is the rest of it.
var constantly = func() (b []byte) {
	for _, f := range []struct {
		number protowire.Number
		value  string
	}{{2, "GET"}, {4, "/orders/5"}, {5, "api.example"}, {6, "http"}, {10, "HTTP/1.1"}} {
		b = protowire.AppendString(protowire.AppendTag(b, f.number, protowire.BytesType), f.value)
	}
	for _, f := range [][2]string{
		{":authority", "api.example"},
		{":method", "GET"},
		{":path", "/orders/5"},
		{":scheme", "http"},
		{"accept", "application/json"},
		{"user-agent", "Mozilla/5.0"},
		{"x-request-id", "0198f3a2-7c1e-7b3d-9a4f-000000000001"},
	} {
		b = entry(b, f[0], f[1])
	}
	return b
}()

// entry is one of headers.
func entry(b []byte, name, value string) []byte {
	e := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
	e = protowire.AppendString(protowire.AppendTag(e, 2, protowire.BytesType), value)
	return protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), e)
}

// bareGRPCAt tells the bare gRPC server's process where to listen.
const bareGRPCAt = "FRONTS_BARE_GRPC"

// constant answers every request alike, with what ext_authz gives for a good token.
type constant struct {
	authv3.UnimplementedAuthorizationServer
}

func (constant) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	ok := &authv3.OkHttpResponse{}
	for _, f := range identity() {
		ok.Headers = append(ok.Headers, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: f[0], Value: f[1]}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return &authv3.CheckResponse{Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}}, nil
}

// TestBareGRPC is a process of its own: grpc-go with an answer that never changes.
func TestBareGRPC(t *testing.T) {
	address := os.Getenv(bareGRPCAt)
	if address == "" {
		t.Skip("not a bare server's process")
	}
	l := listen(t, address)
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, constant{})
	t.Fatal(server.Serve(l))
}

// listen opens "host:port" or "unix:path".
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	network := "tcp"
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, address = "unix", path
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// reachable waits until someone listens.
func reachable(ctx context.Context, address string) error {
	network := "tcp"
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, address = "unix", path
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return errors.Join(c.Close())
}
