package system

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

const lastPort = 65535

// ports is how many ports the parts take that are started here.
func (c Config) ports() int {
	n := 3*c.Gateways + 2*(1+c.Notifiers+c.Workers) + 1 // the one scheduler, the issuer
	out := c.Outside
	for _, elsewhere := range []string{
		out.CortexURL, out.PagerDutyURL, out.SlackURL, out.SQSEndpoint, out.RedisAddr, out.DatabaseURL.Reveal(),
	} {
		if elsewhere == "" {
			n++
		}
	}
	if out.simulatesMail() {
		n += 2
	}
	return n
}

// checkPorts makes sure that there are as many ports as it takes.
func (c Config) checkPorts() error {
	if last := lastPort + 1 - c.ports(); c.PortBase < 0 || c.PortBase > last {
		return fmt.Errorf("--port-base %d: must be from 1 to %d, because this system takes %d ports from there on; 0 takes free ones",
			c.PortBase, last, c.ports())
	}
	return nil
}

// ports gives out loopback addresses: consecutive ones from a base, or free ones. Addresses are reserved by listening on
// them until the part that needs one takes it over.
type ports struct {
	next int // 0: any free port

	free, end int            // what is left of the block that free ports come from
	blocks    []net.Listener // each on the first port of a block: no other system gives out ports of it meanwhile
}

// Free ports come from below those that systems give out by themselves (from 32768 on Linux, 49152 elsewhere), and in blocks
// that one system has to itself: nobody is given a port between its release and the moment its part takes it over, and
// none while its part is started again.
const (
	firstBlock = 10_000
	blockSize  = 64
	blocks     = 312
	freeTries  = 100
)

// listen reserves the next address.
func (p *ports) listen(ctx context.Context) (net.Listener, error) {
	if p.next == 0 {
		return p.listenFree(ctx)
	}
	l, err := listenOn(ctx, p.next)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d is taken by another program; choose other ports with --port-base, or 0 for free ones", p.next)
	}
	if err != nil {
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	p.next++
	return l, nil
}

func (p *ports) listenFree(ctx context.Context) (net.Listener, error) {
	for {
		if p.free == p.end {
			if err := p.takeBlock(ctx); err != nil {
				return nil, fmt.Errorf("find free ports: %w", err)
			}
		}
		l, err := listenOn(ctx, p.free)
		p.free++
		if errors.Is(err, syscall.EADDRINUSE) { // another program's
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		return l, nil
	}
}

// takeBlock makes a block this system's own until close.
func (p *ports) takeBlock(ctx context.Context) (err error) {
	for range freeTries {
		first := firstBlock + blockSize*rand.IntN(blocks)
		var l net.Listener
		if l, err = listenOn(ctx, first); err == nil {
			p.blocks = append(p.blocks, l)
			p.free, p.end = first+1, first+blockSize
			return nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return err
}

// close gives the blocks back.
func (p *ports) close(context.Context) error {
	var errs []error
	for _, l := range p.blocks {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

func listenOn(ctx context.Context, port int) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// reservation is an address for a part that listens by itself.
type reservation struct{ l net.Listener }

func (p *ports) reserve(ctx context.Context) (reservation, error) {
	l, err := p.listen(ctx)
	return reservation{l}, err
}

func (r reservation) addr() string { return r.l.Addr().String() }
func (r reservation) port() int    { return r.l.Addr().(*net.TCPAddr).Port }

// release frees the address for the part; call it right before the part listens.
func (r reservation) release() { _ = r.l.Close() }
