package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// stagger is how long an address is waited for before the next one is tried beside it; see
// RFC 8305, section 5. Package net would share the time out among them instead, of which
// one that is silent takes its part for every connection, and three may take all.
const stagger = 250 * time.Millisecond

// reach connects to any of the addresses that a name has now.
func reach(ctx context.Context, d *net.Dialer, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	if _, err := netip.ParseAddr(host); err == nil {
		return dial(ctx, address)
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addresses := make([]string, 0, len(found))
	for _, a := range alternate(found) {
		addresses = append(addresses, net.JoinHostPort(a.Unmap().String(), port))
	}
	return firstOf(ctx, addresses, dial)
}

// alternate is list with the two families in turns, so that a machine without one of them
// does not go through all of its addresses first. The order within each is the system's.
func alternate(list []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr // the first is that of the first address
	for _, a := range list {
		i := 0
		if a.Unmap().Is4() != list[0].Unmap().Is4() {
			i = 1
		}
		families[i] = append(families[i], a)
	}
	out := make([]netip.Addr, 0, len(list))
	for i := range list {
		for _, f := range families {
			if i < len(f) {
				out = append(out, f[i])
			}
		}
	}
	return out
}

// firstOf dials the addresses one after the other, and the next one at the latest when
// stagger is over. It returns the first connection; the other attempts have ended then.
func firstOf(ctx context.Context, addresses []string, dial func(ctx context.Context, address string) (net.Conn, error)) (net.Conn, error) {
	if len(addresses) == 1 {
		return dial(ctx, addresses[0])
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type outcome struct {
		conn net.Conn
		err  error
	}
	done := make(chan outcome, len(addresses))
	late := time.NewTimer(stagger)
	defer late.Stop()
	running := 0
	var first net.Conn
	var errs []error
	try := func() {
		if len(addresses) == 0 || first != nil {
			return
		}
		address := addresses[0]
		addresses = addresses[1:]
		running++
		go func() {
			c, err := dial(ctx, address)
			done <- outcome{c, err}
		}()
		late.Reset(stagger)
	}
	for try(); running > 0; {
		select {
		case o := <-done:
			running--
			switch {
			case o.err != nil:
				errs = append(errs, o.err)
				try()
			case first == nil:
				first = o.conn
				stop() // the others come back at once
			default:
				_ = o.conn.Close() // nothing has been sent over it
			}
		case <-late.C:
			try()
		}
	}
	if first != nil {
		return first, nil
	}
	return nil, errors.Join(errs...)
}
