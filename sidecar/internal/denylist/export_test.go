package denylist

// Flush writes what is queued, as Run does.
func (d *Denylist) Flush() error { return d.flush() }
