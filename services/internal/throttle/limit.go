package throttle

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limit is how many failures there may be at once, and how long it takes until they
// are forgotten, evenly: 10 in 10 minutes is one a minute once the ten are used up.
// The zero Limit allows none; [Off] allows any number.
type Limit struct {
	Failures int
	Per      time.Duration
	off      bool
}

// Off is the limit that does not limit.
func Off() Limit { return Limit{off: true} }

const (
	maxFailures = 1_000_000
	maxPer      = 24 * time.Hour
	off         = "off"
)

// UnmarshalText reads "10/10m", or "off".
func (l *Limit) UnmarshalText(text []byte) error {
	if string(text) == off {
		*l = Off()
		return nil
	}
	failures, per, _ := strings.Cut(string(text), "/")
	n, err1 := strconv.Atoi(failures)
	d, err2 := time.ParseDuration(per)
	if errors.Join(err1, err2) != nil || n < 1 || n > maxFailures || d < time.Second || d > maxPer {
		return fmt.Errorf("%.40q: want a number of failures and a time such as 10/10m, up to %d and %s, or %s", text, maxFailures, maxPer, off)
	}
	*l = Limit{Failures: n, Per: d}
	return nil
}

// MarshalText writes the same form.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// String gives the same form.
func (l Limit) String() string {
	if l.off {
		return off
	}
	return strconv.Itoa(l.Failures) + "/" + l.Per.String()
}

// step is how long until one more failure is forgotten.
func (l Limit) step() time.Duration { return l.Per / time.Duration(l.Failures) }
