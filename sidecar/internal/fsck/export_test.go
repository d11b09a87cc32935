package fsck

import "context"

// RunWith runs with so few buckets that entries share them, and with room for so many
// suspects a round.
func RunWith(ctx context.Context, p Parts, most int) (Report, error) {
	return run(ctx, p, nil, 6, most)
}
