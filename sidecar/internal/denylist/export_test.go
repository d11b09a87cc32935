package denylist

import "context"

// Flush writes what is queued, as Run does.
func (d *Denylist) Flush() error { return d.flush() }

// Fill fills the index, as Run does, unless the store fails.
func (d *Denylist) Fill(ctx context.Context) { d.fill(ctx) }
