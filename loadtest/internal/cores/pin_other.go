//go:build !linux

package cores

import "errors"

// Pins keep nobody anywhere: this system is not asked for it.
type Pins struct{}

// Pin refuses any list that is not empty.
func Pin(client List) (*Pins, error) {
	if len(client) > 0 {
		return nil, errors.New("processors can be chosen on Linux only")
	}
	return &Pins{}, nil
}

// Release does nothing.
func (*Pins) Release() error { return nil }

// Servers calls start.
func (*Pins) Servers(start func() error) error { return start() }
