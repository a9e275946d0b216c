package pgserver

import "syscall"

// endWithParent has the kernel ask the server for a fast shutdown when the process that started it is gone.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGINT }
