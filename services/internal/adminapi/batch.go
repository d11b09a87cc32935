package adminapi

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/problem"
)

const (
	// ndjson is the type of a batch and of its answer: a JSON object a line.
	ndjson = "application/x-ndjson"
	// maxLines and maxLine bound a batch, in lines and in bytes of one.
	maxLines = 100_000
	maxLine  = 8 << 10
	// atOnce is how many lines are worked on at a time.
	atOnce = 64
	// linePatience is how long either side of a batch may pause.
	linePatience = 30 * time.Second
)

// NewLines makes the counter of batch lines and registers it.
func NewLines(metrics prometheus.Registerer) (*prometheus.CounterVec, error) {
	lines := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "revocast_admin_batch_lines_total",
		Help: "Lines of revocation batches by what became of them: revoked, standing (it was already), refused, failed (worth repeating).",
	}, []string{"outcome"})
	if err := metrics.Register(lines); err != nil {
		return nil, fmt.Errorf("registering batch metrics: %w", err)
	}
	return lines, nil
}

// lineAnswer is one line of the answer: status and the rest as if the line had been
// sent to POST /admin/v1/revocations.
type lineAnswer struct {
	Line   int    `json:"line"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	*revocationAnswer
}

// batch is POST /admin/v1/revocations:batch. Body and answer are NDJSON, a revocation
// and its outcome a line, in the same order, streamed both ways. A bad line stops
// nothing; blank ones are skipped and counted. What it does line by line is durable
// line by line, and it can be repeated: a line with a revocation_id, or any line under
// an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header) that has not changed,
// announces nothing the second time.
func (a API) batch(w http.ResponseWriter, r *http.Request, by events.Initiator) error {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != ndjson {
		return problem.New(http.StatusUnsupportedMediaType, "Send the body as application/x-ndjson in UTF-8.")
	}
	key, err := idempotencyKey(r.Header["Idempotency-Key"])
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		return fmt.Errorf("answering while reading: %w", err)
	}
	w.Header().Set("Content-Type", ndjson)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)

	ctx, cancel := context.WithCancel(r.Context())
	var reading sync.WaitGroup
	answers := make(chan chan lineAnswer, atOnce)
	reading.Go(func() {
		defer close(answers)
		a.readLines(ctx, control, r.Body, answers, func(n int, line []byte) lineAnswer {
			return a.line(ctx, n, line, key, by)
		})
	})
	if err := writeLines(w, control, answers); err != nil {
		// The caller is gone, and there is nobody to tell. The reader must not wait for
		// what will never come.
		_ = control.SetReadDeadline(time.Now())
	}
	cancel()
	reading.Wait()
	return nil
}

// writeLines sends answers as they come.
func writeLines(w http.ResponseWriter, control *http.ResponseController, answers <-chan chan lineAnswer) error {
	if err := control.Flush(); err != nil {
		return err
	}
	out := json.NewEncoder(w)
	for answer := range answers {
		line := <-answer
		err := control.SetWriteDeadline(time.Now().Add(linePatience))
		if err == nil {
			err = out.Encode(line)
		}
		if err == nil && len(answers) == 0 {
			err = control.Flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readLines gives every line to work, atOnce at a time, and puts where its answer will
// appear into answers, in order. It returns when all are done.
func (a API) readLines(ctx context.Context, control *http.ResponseController, body io.Reader, answers chan<- chan lineAnswer, work func(n int, line []byte) lineAnswer) {
	var working sync.WaitGroup
	defer func() {
		// The server goes on reading, to see whether the caller goes away, and is not
		// to take the end of our patience for that.
		_ = control.SetReadDeadline(time.Time{})
		working.Wait()
	}()
	lines := bufio.NewReaderSize(body, maxLine)
	for n := 1; ; n++ {
		_ = control.SetReadDeadline(time.Now().Add(linePatience)) // the next read tells
		line, err := readLine(lines)
		last := err != nil && !errors.Is(err, errLongLine)
		if last && len(line) == 0 && errors.Is(err, io.EOF) || ctx.Err() != nil {
			return
		}
		answer := make(chan lineAnswer, 1)
		switch {
		case n > maxLines:
			last = true
			answer <- lineAnswer{Line: n, Status: http.StatusRequestEntityTooLarge, Detail: "A batch has at most 100,000 lines. This one and what follows were not read."}
		case last && !errors.Is(err, io.EOF):
			answer <- lineAnswer{Line: n, Status: http.StatusBadRequest, Detail: "The body could not be read to its end."}
		case err != nil && !last:
			answer <- lineAnswer{Line: n, Status: http.StatusRequestEntityTooLarge, Detail: "A line has at most 8 KiB."}
		case len(line) == 0:
			continue
		default:
			working.Go(func() { answer <- work(n, line) })
		}
		select {
		case answers <- answer:
		case <-ctx.Done():
			return
		}
		if last {
			return
		}
	}
}

var errLongLine = errors.New("line is too long")

// readLine reads one line, without what ends it. Of one that is too long it reads all
// and gives nothing.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	line = bytes.Clone(bytes.TrimSpace(line))
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	if err == nil {
		err = errLongLine
	}
	return nil, err
}

// line carries out one line.
func (a API) line(ctx context.Context, n int, text []byte, key string, by events.Initiator) lineAnswer {
	answer, err := a.tryLine(ctx, n, text, key, by)
	outcome := "revoked"
	p, refused := errors.AsType[*problem.Error](err)
	switch {
	case refused:
		outcome = "refused"
		answer = lineAnswer{Status: p.Status, Detail: p.Detail}
	case err != nil:
		outcome = "failed"
		a.Log.Warn("line of a batch not decided", zap.Int("line", n), zap.Error(err))
		answer = lineAnswer{Status: http.StatusServiceUnavailable, Detail: "Not decided; try again."}
	case answer.Position == "":
		outcome = "standing"
	}
	a.Lines.WithLabelValues(outcome).Inc()
	answer.Line = n
	return answer
}

func (a API) tryLine(ctx context.Context, n int, text []byte, key string, by events.Initiator) (lineAnswer, error) {
	in, err := problem.DecodeJSON[revocationRequest](text)
	if err != nil {
		return lineAnswer{}, err
	}
	if in.DryRun {
		return lineAnswer{}, problem.New(http.StatusBadRequest, "A batch revokes; ask for estimates one by one.")
	}
	if in.Wait != "" {
		return lineAnswer{}, problem.New(http.StatusBadRequest, "A batch does not wait; GET /admin/v1/fleet shows who is how far.")
	}
	if in.RevocationID == "" && key != "" {
		in.RevocationID = idOfLine(key, by.Name, n, text)
	}
	command, err := a.revocation(in, by)
	if err != nil {
		return lineAnswer{}, err
	}
	done, err := a.Revocations.Revoke(ctx, command)
	if err != nil {
		return lineAnswer{}, revocationRefusal(err)
	}
	answer := answerOf(done)
	return lineAnswer{Status: http.StatusCreated, revocationAnswer: &answer}, nil
}

// idOfLine names the revocation that a line of a batch asks for: the same whenever the
// same operator sends the same line at the same place under the same key.
func idOfLine(key, operator string, n int, text []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write(binary.AppendUvarint(nil, uint64(len(operator))))
	_, _ = mac.Write([]byte(operator))
	_, _ = mac.Write(binary.AppendUvarint(nil, uint64(n))) //nolint:gosec // a line's number
	_, _ = mac.Write(text)
	u := uuid.UUID(mac.Sum(nil)[:16])
	u[6] = u[6]&0x0f | 0x80 // version 8, RFC 9562 section 5.8
	u[8] = u[8]&0x3f | 0x80
	return u.String()
}

// idempotencyKey reads the header, a string as structured fields write it (RFC 9651
// section 3.3.3); empty for none.
func idempotencyKey(header []string) (string, error) {
	if len(header) == 0 {
		return "", nil
	}
	refusal := problem.New(http.StatusBadRequest, `Idempotency-Key is one string of 1 to 256 characters in double quotes, such as "8e03978e-40d5-43dd-bc93-6894a57f9324".`)
	if len(header) != 1 {
		return "", refusal
	}
	text, ok1 := strings.CutPrefix(strings.Trim(header[0], " "), `"`)
	text, ok2 := strings.CutSuffix(text, `"`)
	if !ok1 || !ok2 || text == "" || len(text) > 256 {
		return "", refusal
	}
	for i := range len(text) {
		// Escapes are left out: whoever needs them takes another key.
		if c := text[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return "", refusal
		}
	}
	return text, nil
}
