package codec

import "github.com/revocast/revocast/events"

// Check says whether a revocation that came another way is one that [Decode] would
// accept. Errors match [ErrInvalid].
func Check(r events.Revocation) error {
	c := checker{}
	c.revocation(r)
	return c.err
}
