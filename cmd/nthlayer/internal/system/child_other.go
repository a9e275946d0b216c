//go:build !linux

package system

import "syscall"

// attributes give a child a process group of its own, so that Ctrl-C in the terminal reaches this process alone.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
