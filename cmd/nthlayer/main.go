// Nthlayer is the command line of NthLayer; `nthlayer dev` runs the whole system on one machine.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/cli"
)

//go:generate ../../deploy/local/diagram.sh

func main() {
	// The first signal asks to stop, the second to hurry.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, stop := context.WithCancel(context.Background())
	hurry := make(chan struct{})
	go func() {
		<-signals
		stop()
		<-signals
		close(hurry)
	}()
	os.Exit(cli.Run(ctx, cli.OSTerminal(hurry), os.Args[1:]))
}
