package local

import "syscall"

// attributes puts the stack into a process group of its own, so that Ctrl-C reaches
// this process alone, which finishes before it stops the stack. And it has the kernel
// stop the stack when this process dies without having done so.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
