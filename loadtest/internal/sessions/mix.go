package sessions

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Operation is something that is done to a session.
type Operation string

// The operations of a load.
const (
	Logins      Operation = "logins"
	Refreshes   Operation = "refreshes"
	Revocations Operation = "revocations"
)

// Operations lists them, in the order of a session's life.
func Operations() []Operation { return []Operation{Logins, Refreshes, Revocations} }

// Mix says how often each operation is done in relation to the others. The zero Mix is
// none.
type Mix struct {
	weight map[Operation]float64
	sum    float64
}

// maxWeight bounds one number of a mix.
const maxWeight = 1e6

var errMix = errors.New("want something like logins=1,refreshes=20,revocations=1")

// UnmarshalText reads such as logins=1,refreshes=20,revocations=1. What is not named is
// not done.
func (m *Mix) UnmarshalText(text []byte) error {
	parsed := Mix{weight: map[Operation]float64{}}
	for part := range strings.SplitSeq(strings.ReplaceAll(string(text), " ", ""), ",") {
		name, number, _ := strings.Cut(part, "=")
		op := Operation(name)
		weight, err := strconv.ParseFloat(number, 64)
		_, twice := parsed.weight[op]
		// The comparison also refuses what is not a number.
		if err != nil || !(weight >= 0 && weight <= maxWeight) || twice || !op.known() {
			return fmt.Errorf("%q: %w", text, errMix)
		}
		parsed.weight[op] = weight
		parsed.sum += weight
	}
	if parsed.sum == 0 {
		return fmt.Errorf("%q: %w", text, errMix)
	}
	*m = parsed
	return nil
}

func (o Operation) known() bool { return slices.Contains(Operations(), o) }

// String gives the same form.
func (m Mix) String() string {
	var parts []string
	for _, op := range Operations() {
		if w := m.weight[op]; w > 0 {
			parts = append(parts, fmt.Sprintf("%s=%g", op, w))
		}
	}
	return strings.Join(parts, ",")
}

// Share is the part of all that is the operation, from 0 to 1.
func (m Mix) Share(op Operation) float64 {
	if m.sum == 0 {
		return 0
	}
	return m.weight[op] / m.sum
}

// pick says what the n-th of a series is, whatever the others are.
func (m Mix) pick(seed, n uint64) Operation {
	at := rand.New(rand.NewPCG(seed, n)).Float64() * m.sum //nolint:gosec // repeatable is the point
	for _, op := range Operations() {
		if at < m.weight[op] {
			return op
		}
		at -= m.weight[op]
	}
	return m.last()
}

// last is where a sum that was rounded ends.
func (m Mix) last() (op Operation) {
	for _, one := range Operations() {
		if m.weight[one] > 0 {
			op = one
		}
	}
	return op
}
