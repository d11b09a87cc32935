package extauthz

import (
	"errors"
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/revocast/revocast/sidecar/internal/front"
)

// codec reads and writes Check's messages, and leaves all others to grpc's own. The
// generated types would make a map of every header and a message of every field of an
// answer, which is more work than all that is asked (ADR-0022).
type codec struct{ encoding.CodecV2 }

// Unmarshal implements [encoding.CodecV2].
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	q, ok := v.(*question)
	if !ok {
		return c.CodecV2.Unmarshal(data, v) //nolint:wrapcheck // it is the codec for it
	}
	message := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer message.Free()
	return q.read(message.ReadOnlyData())
}

// Marshal implements [encoding.CodecV2].
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(reply); ok {
		return mem.BufferSlice{mem.SliceBuffer(r)}, nil
	}
	return c.CodecV2.Marshal(v) //nolint:wrapcheck // it is the codec for it
}

// errMessage says no more, for a message has a client's header in it.
var errMessage = errors.New("the message is no CheckRequest")

// question is what is read of a CheckRequest. Texts are copies.
type question struct {
	method, host, path string
	// described: it tells of an HTTP request. twice: it tells of it in more than one way.
	described, twice bool
	// joined and raw: there are fields in `headers`, and in `header_map`.
	joined, raw bool
	// authorization are the values of the Authorization fields, unwanted the names of
	// those fields that an application must not be told.
	authorization, unwanted []string
	demands                 map[string][]string
}

// Numbers of the fields that are read; those of a nested message follow it.
const (
	requestAttributes    = 1
	attributesRequest    = 4
	attributesExtensions = 10
	requestHTTP          = 2
	httpMethod           = 2
	httpHeaders          = 3
	httpPath             = 4
	httpHost             = 5
	httpHeaderMap        = 13
	headerMapHeaders     = 1
	entryKey             = 1 // of a map's entry, and of a HeaderValue
	entryValue           = 2
	headerRawValue       = 3
)

// read takes in a message. What a message may say once is not read a second time: of
// two, one may be another's. Texts that are no UTF-8 are for the judge to refuse.
func (q *question) read(message []byte) error {
	once := false
	return each(message, func(number int, value []byte) error {
		if number != requestAttributes {
			return nil
		}
		q.twice, once = q.twice || once, true
		return each(value, q.attribute)
	})
}

func (q *question) attribute(number int, value []byte) error {
	switch number {
	case attributesRequest:
		return each(value, func(number int, value []byte) error {
			if number != requestHTTP {
				return nil
			}
			q.twice, q.described = q.twice || q.described, true
			return each(value, q.http)
		})
	case attributesExtensions:
		name, demand, _, err := entry(value)
		if q.demands == nil {
			q.demands = map[string][]string{}
		}
		q.demands[string(name)] = append(q.demands[string(name)], string(demand))
		return err
	}
	return nil
}

func (q *question) http(number int, value []byte) error {
	switch number {
	case httpMethod:
		q.set(&q.method, value)
	case httpPath:
		q.set(&q.path, value)
	case httpHost:
		q.set(&q.host, value)
	case httpHeaders:
		q.joined = true
		name, value, _, err := entry(value)
		return errors.Join(err, q.field(name, value, nil))
	case httpHeaderMap:
		return each(value, func(number int, value []byte) error {
			if number != headerMapHeaders {
				return nil
			}
			q.raw = true
			name, value, raw, err := entry(value)
			return errors.Join(err, q.field(name, value, raw))
		})
	}
	return nil
}

func (q *question) set(text *string, value []byte) {
	q.twice, *text = q.twice || *text != "", string(value)
}

// field takes in one header field. Envoy tells of them in one of two ways: with fields
// of the same name joined by commas, or (`encode_raw_headers`) one by one, and then in
// bytes. Where an entry has both, all that it says counts.
func (q *question) field(name, value, raw []byte) error {
	const authorization = "authorization"
	switch {
	case len(name) == len(authorization) && strings.EqualFold(string(name), authorization):
		if len(raw) > 0 {
			q.authorization = append(q.authorization, string(raw))
		}
		if len(value) > 0 || len(raw) == 0 {
			q.authorization = append(q.authorization, string(value))
		}
	case front.IsIdentity(string(name)), front.IsOverride(string(name)):
		if !utf8.Valid(name) {
			return errMessage // no name of a header, and none that an answer may have
		}
		q.unwanted = append(q.unwanted, string(name))
	}
	return nil
}

// entry reads an entry of a map, or a HeaderValue. What is there twice is the last one's,
// as in any other reading of it: Envoy writes each once.
func entry(message []byte) (key, value, raw []byte, err error) {
	err = each(message, func(number int, field []byte) error {
		switch number {
		case entryKey:
			key = field
		case entryValue:
			value = field
		case headerRawValue:
			raw = field
		}
		return nil
	})
	return key, value, raw, err
}

// each gives the fields of a message that are messages, texts or bytes, and passes over
// all others.
func each(message []byte, take func(number int, value []byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errMessage
		}
		message = message[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
				return errMessage
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return errMessage
		}
		message = message[n:]
		if err := take(int(number), value); err != nil {
			return err
		}
	}
	return nil
}

// reply is a CheckResponse as it is sent.
type reply []byte

// Numbers of the fields that are written.
const (
	responseStatus   = 1
	responseDenied   = 2
	responseOK       = 3
	responseMetadata = 4
	statusCode       = 1 // of google.rpc.Status, and of envoy.type.v3.HttpStatus
	deniedStatus     = 1
	answerHeaders    = 2 // of what is denied, and of what is allowed
	okRemove         = 5
	okResponse       = 6
	optionHeader     = 1
	optionAction     = 3
	optionKeepEmpty  = 4
	structFields     = 1
	valueNull        = 1
	valueNumber      = 2
	valueText        = 3
	valueList        = 6
	listValues       = 1

	// overwrite is OVERWRITE_IF_EXISTS_OR_ADD.
	overwrite = 2
)

// nested appends a field with what fill appends to it.
func nested(b []byte, number protowire.Number, fill func(b []byte) []byte) []byte {
	b = protowire.AppendTag(b, number, protowire.BytesType)
	start := len(b)
	b = fill(append(b, 0))             // most lengths take one byte
	size := uint64(len(b) - start - 1) //nolint:gosec // fill has appended
	if more := protowire.SizeVarint(size) - 1; more > 0 {
		b = append(b, make([]byte, more)...)
		copy(b[start+1+more:], b[start+1:len(b)-more])
	}
	protowire.AppendVarint(b[:start], size)
	return b
}

func text(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

func integer(b []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}

// set replaces a header field whatever there is of it, with nothing where that is its
// value.
func set(b []byte, number protowire.Number, f front.Field) []byte {
	return nested(b, number, func(b []byte) []byte {
		b = nested(b, optionHeader, func(b []byte) []byte { return text(text(b, entryKey, f.Name), entryValue, f.Value) })
		return integer(integer(b, optionAction, overwrite), optionKeepEmpty, 1)
	})
}

// fact is a member of the dynamic metadata; fill appends its google.protobuf.Value.
func fact(b []byte, name string, fill func(b []byte) []byte) []byte {
	return nested(b, structFields, func(b []byte) []byte { return nested(text(b, entryKey, name), entryValue, fill) })
}

func textFact(b []byte, name, value string) []byte {
	return fact(b, name, func(b []byte) []byte { return text(b, valueText, value) })
}

func numberFact(b []byte, name string, value float64) []byte {
	return fact(b, name, func(b []byte) []byte {
		return protowire.AppendFixed64(protowire.AppendTag(b, valueNumber, protowire.Fixed64Type), math.Float64bits(value))
	})
}
