//go:build !linux

package pgserver

import "syscall"

// endWithParent can do nothing here; the next start on the directory ends a server that was left behind.
func endWithParent(*syscall.SysProcAttr) {}
