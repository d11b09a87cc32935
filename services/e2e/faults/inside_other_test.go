//go:build !linux

package faults

import (
	"errors"
	"testing"
)

func inside() (code int, ok bool) { return 0, false }

func outside() string { return "only Linux has namespaces" }

var errLinux = errors.New("only on Linux")

// pod and disk are never made: see outside.
type pod struct{ address string }

func newPod(t *testing.T) *pod {
	t.Helper()
	t.Fatal(errLinux)
	return nil
}

func (*pod) prefix() []string { return nil }
func (*pod) pull() error      { return errLinux }
func (*pod) plug() error      { return errLinux }

type disk struct{}

func newDisk(t *testing.T, _ string) *disk {
	t.Helper()
	t.Fatal(errLinux)
	return nil
}

func (*disk) fill() error { return errLinux }
func (*disk) free() error { return errLinux }
