//go:build !linux

package stack

import "syscall"

// attributes asks for nothing: only Linux ends a child with its parent. Ctrl-C then
// reaches the children too, which stop at it by themselves.
func attributes() *syscall.SysProcAttr { return nil }
