package password

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// Bounds on what a stored hash may ask for. A hash comes from the journal or from
// an operator's file; whatever wrote it, verifying it must stay affordable.
const (
	maxPHC    = 256
	maxMemory = 256 << 10 // KiB
	maxTime   = 16
	maxLanes  = 16
	minSalt   = 8
	maxSalt   = 64
	minSum    = 16
	maxSum    = 64
)

// ErrHash is returned for a stored hash that is not an argon2id hash in PHC string
// format, or that asks for more than this package will spend. It carries no part
// of the hash.
var ErrHash = errors.New("not an argon2id hash in PHC string format within bounds")

// params are what a hash was made with.
type params struct {
	memory uint32 // KiB
	time   uint32
	lanes  uint8
}

// hash is a PHC string taken apart.
type hash struct {
	params
	salt, sum []byte
}

// String writes the one spelling that parse reads:
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<sum>
func (h hash) String() string {
	enc := base64.RawStdEncoding
	return "$argon2id$v=19$m=" + strconv.FormatUint(uint64(h.memory), 10) +
		",t=" + strconv.FormatUint(uint64(h.time), 10) +
		",p=" + strconv.FormatUint(uint64(h.lanes), 10) +
		"$" + enc.EncodeToString(h.salt) + "$" + enc.EncodeToString(h.sum)
}

// parse reads the PHC string format strictly: every parameter, in order, in plain
// decimal, and base64 without padding in its one spelling.
func parse(s string) (hash, error) {
	if len(s) > maxPHC {
		return hash{}, ErrHash
	}
	part := strings.Split(s, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != "v=19" {
		return hash{}, ErrHash
	}
	given := strings.Split(part[3], ",")
	if len(given) != 3 {
		return hash{}, ErrHash
	}
	memory, okM := parameter(given[0], "m=", maxMemory)
	passes, okT := parameter(given[1], "t=", maxTime)
	lanes, okP := parameter(given[2], "p=", maxLanes)
	salt, okSalt := base64Within(part[4], minSalt, maxSalt)
	sum, okSum := base64Within(part[5], minSum, maxSum)
	// RFC 9106 section 3.1: at least eight blocks of 1 KiB a lane.
	if !okM || !okT || !okP || !okSalt || !okSum || memory < 8*lanes {
		return hash{}, ErrHash
	}
	return hash{params{uint32(memory), uint32(passes), uint8(lanes)}, salt, sum}, nil //nolint:gosec // bounded by parameter
}

func parameter(s, name string, atMost uint64) (uint64, bool) {
	digits, ok := strings.CutPrefix(s, name)
	n, err := strconv.ParseUint(digits, 10, 32)
	return n, ok && err == nil && n >= 1 && n <= atMost && strconv.FormatUint(n, 10) == digits
}

func base64Within(s string, atLeast, atMost int) ([]byte, bool) {
	// The decoder skips line breaks even when strict.
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) >= atLeast && len(b) <= atMost
}

// Check reports with [ErrHash] what Verify would refuse to look at, so that a file
// of hashes can be judged when it is read.
func Check(phc string) error {
	_, err := parse(phc)
	return err
}
