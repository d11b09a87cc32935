package stack

import "syscall"

// attributes puts a child into a process group of its own, so that Ctrl-C reaches
// only the parent, which then stops its children in order. And it has the kernel
// kill the child when the parent dies without having done so.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
