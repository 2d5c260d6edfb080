package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestFirstOf dials addresses that are named after what they do: "silent" never answers,
// "refused" fails at once, "slow" takes two seconds, and "alive" is there.
func TestFirstOf(t *testing.T) {
	f := func(addresses, want, tried string, took time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
			defer stop()
			var mu sync.Mutex
			var order []string // guarded by mu
			var open []*pipe   // guarded by mu
			dial := func(ctx context.Context, address string) (net.Conn, error) {
				mu.Lock()
				order = append(order, address)
				mu.Unlock()
				wait := time.Duration(0)
				switch address {
				case "silent":
					wait = time.Hour
				case "slow":
					wait = 2 * time.Second
				}
				select {
				case <-time.After(wait):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				if address == "refused" {
					return nil, errors.New("refused")
				}
				p := &pipe{name: address}
				mu.Lock()
				defer mu.Unlock()
				open = append(open, p)
				return p, nil
			}
			began := time.Now()
			c, err := firstOf(ctx, strings.Fields(addresses), dial)
			got := ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), "\n", ", ")
			} else {
				got = c.(*pipe).name
			}
			if got != want || strings.Join(order, " ") != tried || time.Since(began) != took {
				t.Errorf("%s: %s after %v, tried %v; want %s after %v, tried %s", addresses, got, time.Since(began), order, want, took, tried)
			}
			if left := slices.DeleteFunc(open, func(p *pipe) bool { return p.closed }); err == nil && len(left) != 1 || err != nil && len(left) > 0 {
				t.Errorf("%s: %d connections are open", addresses, len(left))
			}
		})
	}
	f("alive", "alive", "alive", 0)
	f("refused alive", "alive", "refused alive", 0)
	f("silent alive", "alive", "silent alive", stagger)
	f("silent silent silent alive", "alive", "silent silent silent alive", 3*stagger)
	f("silent refused alive", "alive", "silent refused alive", stagger)
	f("slow alive slow", "alive", "slow alive", stagger)
	f("slow silent", "slow", "slow silent", 2*time.Second)
	f("refused refused", "refused, refused", "refused refused", 0)
	f("silent refused", "refused, context deadline exceeded", "silent refused", 5*time.Second)
	f("silent silent", "context deadline exceeded, context deadline exceeded", "silent silent", 5*time.Second)
}

// pipe is a connection that knows whether it is closed.
type pipe struct {
	net.Conn
	name   string
	closed bool
}

func (p *pipe) Close() error { p.closed = true; return nil }

// Two that connect at the same moment leave one open.
func TestFirstOfClosesTheOther(t *testing.T) {
	both := make(chan struct{})
	var mu sync.Mutex
	var open []*pipe // guarded by mu
	c, err := firstOf(t.Context(), []string{"a", "b"}, func(_ context.Context, address string) (net.Conn, error) {
		p := &pipe{name: address}
		mu.Lock()
		open = append(open, p)
		mu.Unlock()
		if address == "b" {
			close(both)
		}
		<-both
		return p, nil
	})
	if err != nil || len(open) != 2 || open[0].closed == open[1].closed || c.(*pipe).closed {
		t.Errorf("%v %v: %v", c, err, open)
	}
}

func TestAlternate(t *testing.T) {
	f := func(list, want string) {
		t.Helper()
		var in []netip.Addr
		for a := range strings.FieldsSeq(list) {
			in = append(in, netip.MustParseAddr(a))
		}
		var out []string
		for _, a := range alternate(in) {
			out = append(out, a.String())
		}
		if got := strings.Join(out, " "); got != want {
			t.Errorf("%s: %s, want %s", list, got, want)
		}
	}
	f("::1", "::1")
	f("::1 ::2 ::3 127.0.0.1 127.0.0.2", "::1 127.0.0.1 ::2 127.0.0.2 ::3")
	f("127.0.0.1 ::ffff:127.0.0.2 ::1", "127.0.0.1 ::1 ::ffff:127.0.0.2")
}

// A name is looked up, and whoever runs the gateway hears why it is not found.
func TestReach(t *testing.T) {
	_, port, err := net.SplitHostPort(serve(t, always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
	if err != nil {
		t.Fatal(err)
	}
	f := func(host, want string) {
		t.Helper()
		var told string
		c := newClient(t, Options{Address: net.JoinHostPort(host, port), Unreached: func(reason error) { told = reason.Error() }})
		_, err := fetch(c, newExchange(t, "POST", "{}"))
		if (err == nil) != (want == "") || !strings.Contains(told, want) {
			t.Errorf("%s: %v, told %q; want %q", host, err, told, want)
		}
	}
	f("localhost", "")
	f("127.0.0.1", "")
	f("nothing.invalid", "lookup nothing.invalid")
}
