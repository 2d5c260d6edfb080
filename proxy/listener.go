package proxy

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A listener accepts connections, up to a limit, and has them watched.
type listener struct {
	net.Listener
	watcher *watcher
	limits  limits
	tls     *tls.Config // nil for plain TCP
	maxHead int
	max     int64
	buffers sync.Pool // of *[]byte
	open    atomic.Int64
	turned  func() // told of each connection turned away

	lingering atomic.Int64

	maxPerIP int // 0 for any number
	mu       sync.Mutex
	perIP    map[netip.Addr]int // guarded by mu
}

// buffer returns memory for a head. A larger one is refused.
func (l *listener) buffer() *[]byte {
	if b, ok := l.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, l.maxHead+2)
	return &b
}

// Accept implements net.Listener. A connection above a limit is told so and
// closed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := l.addressOf(raw)
		if !l.enter(ip) {
			l.turned()
			l.turnAway(raw)
			continue
		}
		c := &conn{Conn: raw, watcher: l.watcher, listener: l, ip: ip}
		c.wire.maxHead = l.maxHead
		if l.tls != nil {
			c.Conn = tls.Server(raw, l.tls)
		}
		l.watcher.watch(c, raw)
		return c, nil
	}
}

// enter counts a connection in, unless that would exceed a limit.
func (l *listener) enter(ip netip.Addr) bool {
	if l.open.Add(1) > l.max {
		l.open.Add(-1)
		return false
	}
	if l.maxPerIP == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perIP[ip] >= l.maxPerIP {
		l.open.Add(-1)
		return false
	}
	l.perIP[ip]++
	return true
}

// leave counts a connection out.
func (l *listener) leave(ip netip.Addr) {
	l.open.Add(-1)
	if l.maxPerIP == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perIP[ip]--; l.perIP[ip] <= 0 {
		delete(l.perIP, ip)
	}
}

// addressOf is the client's address, where it matters.
func (l *listener) addressOf(c net.Conn) netip.Addr {
	if l.maxPerIP == 0 {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	return a.Addr().Unmap()
}

// turnAway answers a connection that cannot be served, as far as that takes no
// waiting.
func (l *listener) turnAway(raw net.Conn) {
	if l.tls != nil {
		_ = raw.Close()
		return
	}
	_ = raw.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = fmt.Fprintf(raw, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"Retry-After: 1\r\nX-Request-Id: %s\r\nConnection: close\r\n\r\n%s", len(turnedAway), requestID(nil, nil), turnedAway)
	_ = l.linger(raw, func() {})
}

// Bounds of lingering connections.
const (
	lingerMost  = 256             // connections at once; more are closed at once
	lingerTotal = 5 * time.Second // for one of them
	lingerIdle  = time.Second     // without a byte
	lingerBytes = 64 << 20
)

// linger closes the sending side of c, and the rest when the client has stopped
// sending, or has had its time. It returns at once; done is called at the end.
func (l *listener) linger(c net.Conn, done func()) error {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || l.lingering.Add(1) > lingerMost {
		if ok {
			l.lingering.Add(-1)
		}
		done()
		return c.Close()
	}
	go func() {
		defer l.lingering.Add(-1)
		defer done()
		defer func() { _ = c.Close() }()
		if half.CloseWrite() != nil {
			return
		}
		end := time.Now().Add(lingerTotal)
		buf := make([]byte, 32<<10)
		for n := 0; n < lingerBytes && time.Now().Before(end); {
			_ = c.SetReadDeadline(time.Now().Add(lingerIdle))
			m, err := c.Read(buf)
			if n += m; err != nil {
				return
			}
		}
	}()
	return nil
}

const turnedAway = `{"error":{"message":"the server has too many connections; try again","type":"server_error","param":null,"code":"overloaded"}}`
