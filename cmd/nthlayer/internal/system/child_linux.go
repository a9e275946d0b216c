package system

import "syscall"

// attributes give a child a process group of its own, so that Ctrl-C in the terminal reaches this process alone, and let
// the kernel kill it when this process is gone: every service is made to be killed at any moment.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
