//go:build !linux

package local

import "syscall"

// attributes asks for nothing: only Linux ends a child with its parent. Ctrl-C then
// reaches the stack too, which stops at it by itself.
func attributes() *syscall.SysProcAttr { return nil }
