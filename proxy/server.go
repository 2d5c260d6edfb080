// Package proxy is the edge: it accepts HTTP, refuses what is not strictly
// HTTP, turns each request into an exchange, has the route's chain answer it,
// and relays the answer as it comes. It is the only package that sees
// fasthttp's request context.
//
// What it does not do: anything a stage can do.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/quiet"
)

// Options are what a Server needs besides its configuration.
type Options struct {
	// Load reads the configuration. It is called once by New, and by each
	// Reload with the snapshot in use.
	Load func(ctx context.Context, old *config.Snapshot) (*config.Snapshot, error)
	// Log gets what happens besides requests.
	Log *slog.Logger
	// Access gets the access log.
	Access io.Writer
	// Version is told by the health endpoints.
	Version string
}

// A Server is a running gateway.
type Server struct {
	opts       Options
	log        *slog.Logger
	started    config.Server                   // the section server that it was started with
	cert       atomic.Pointer[tls.Certificate] // of the data listener; nil for plain HTTP
	live       config.Live
	site       atomic.Pointer[site] // of the snapshot in live, or about to be
	metrics    *metrics
	access     *access
	unsaid     *quiet.Log // why requests failed, where clients are not told
	unmeasured *quiet.Log // which metrics are missing
	memory     *budget
	watcher    *watcher
	data       *fasthttp.Server
	admin      *fasthttp.Server
	dataLn     *listener
	adminLn    net.Listener

	running    atomic.Int64
	maxRunning atomic.Int64
	draining   atomic.Bool
	served     sync.WaitGroup // the two accept loops
	swept      sync.WaitGroup // see sweep
	failed     chan error
	reload     sync.Mutex
}

// New loads the configuration and listens. The server answers once Serve is
// called; Shutdown ends it.
func New(ctx context.Context, opts Options) (*Server, error) {
	snap, err := opts.Load(ctx, nil)
	if err != nil {
		return nil, err
	}
	set := snap.Server
	s := &Server{opts: opts, log: opts.Log, started: set, metrics: newMetrics(), failed: make(chan error, 2)}
	s.unsaid, s.unmeasured = quiet.New(s.log), quiet.New(s.log)
	s.memory = newBudget(s.bodyMemory(int64(set.Limits.BodyMemory), debug.SetMemoryLimit(-1)))
	s.publish(snap)
	if err := s.listen(set); err != nil {
		s.live.Swap(nil)
		return nil, err
	}
	s.access = newAccess(opts.Access, set.AccessLog, s.metrics.unlogged.Inc)
	s.data = s.dataServer(set)
	s.admin = s.adminServer()
	s.swept.Go(s.sweep)
	return s, nil
}

// publish makes snap the configuration of requests to come.
func (s *Server) publish(snap *config.Snapshot) {
	s.maxRunning.Store(int64(snap.Server.Limits.MaxConcurrent))
	s.site.Store(newSite(snap, s.metrics))
	s.live.Swap(snap)
}

// acquire returns the site in use, held until it is released.
func (s *Server) acquire() *site {
	for {
		st, snap := s.site.Load(), s.live.Acquire()
		if st.snap == snap {
			return st
		}
		snap.Release() // between the two steps of publish
	}
}

func (s *site) release() { s.snap.Release() }

// listen opens both listeners, or none.
func (s *Server) listen(set config.Server) error {
	w, err := newWatcher()
	if err != nil {
		return fmt.Errorf("watch connections: %w", err)
	}
	var secure *tls.Config
	if set.TLS != nil {
		cert, err := loadCert(set.TLS)
		if err != nil {
			w.Close()
			return err
		}
		s.cert.Store(cert)
		secure = &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Load(), nil },
			MinVersion:     tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		}
	}
	ln, err := net.Listen("tcp", set.Listen)
	if err != nil {
		w.Close()
		return fmt.Errorf("listen on %s: %w", set.Listen, err)
	}
	if set.Admin != "" {
		admin, err := net.Listen("tcp", set.Admin)
		if err != nil {
			_ = ln.Close()
			w.Close()
			return fmt.Errorf("listen on %s for admin: %w", set.Admin, err)
		}
		s.adminLn = &patient{admin, quiet.New(s.log)}
	}
	s.watcher = w
	s.dataLn = &listener{
		Listener: &patient{ln, quiet.New(s.log)}, watcher: w, tls: secure, turned: s.metrics.turned.Inc,
		limits:  limits{head: set.Timeouts.Header, idle: set.Timeouts.KeepAlive, write: set.Timeouts.WriteIdle},
		maxHead: int(set.Limits.MaxHeader), max: s.connections(set.Limits.MaxConnections),
		maxPerIP: set.Limits.MaxConnectionsPerIP, perIP: make(map[netip.Addr]int),
	}
	return nil
}

// connections is how many the gateway takes, of limit at most.
func (s *Server) connections(limit int) int64 {
	files, known := filesAllowed()
	if room := roomFor(files); known && room < int64(limit) {
		s.log.Warn("the system allows too few open files for limits.max_connections; allow more (ulimit -n), or set it lower",
			"files", files, "max_connections", limit, "taken", room)
		return room
	}
	return int64(limit)
}

// bodyMemory is how much the held bodies of requests may take, limit at most, where the
// process as a whole may take so much: the other half is for all else, and for bodies that
// are done with and not yet collected.
func (s *Server) bodyMemory(limit, whole int64) int64 {
	if room := whole / 2; room < limit {
		s.log.Warn("there is too little memory for limits.body_memory; allow more (the container's limit, or GOMEMLIMIT), or set it lower",
			"memory", whole, "body_memory", limit, "taken", room)
		return room
	}
	return limit
}

// loadCert reads a certificate and its key.
func loadCert(set *config.TLS) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(set.Cert, set.Key)
	if err != nil {
		return nil, fmt.Errorf("load the TLS certificate %s: %w", set.Cert, err)
	}
	return &cert, nil
}

// dataServer is the server that clients meet.
func (s *Server) dataServer(set config.Server) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:       s.handle,
		ErrorHandler:  s.refused,
		ExpectHandler: s.expect,
		// The whole head must fit, and the wire check has counted it already.
		ReadBufferSize:  int(set.Limits.MaxHeader) + 1<<10,
		WriteBufferSize: 4 << 10,
		// Timeouts are the connection's own: see limits.
		// Requests look to fasthttp as if they had no body: see conn.
		MaxRequestBodySize: 1,
		Concurrency:        set.Limits.MaxConnections + 16,
		// A goroutine that waits for a connection is soon made anew; after a
		// storm nothing should be left of it.
		MaxIdleWorkerDuration: 2 * time.Second,
		NoDefaultServerHeader: true,
		NoDefaultContentType:  true,
		CloseOnShutdown:       true,
		LazyRequestTime:       true,
		SecureErrorLogMessage: true,
		Logger:                silent{},
	}
}

// silent drops fasthttp's own log: it tells of clients that leave, and may
// quote what they sent.
type silent struct{}

func (silent) Printf(string, ...any) {}

// Addr is the address that clients connect to.
func (s *Server) Addr() net.Addr { return s.dataLn.Addr() }

// AdminAddr is the admin address, or nil.
func (s *Server) AdminAddr() net.Addr {
	if s.adminLn == nil {
		return nil
	}
	return s.adminLn.Addr()
}

// URL is what clients set as the base URL of OpenAI's libraries.
func (s *Server) URL() string {
	if s.started.TLS != nil {
		return "https://" + s.Addr().String() + "/v1"
	}
	return "http://" + s.Addr().String() + "/v1"
}

// Serve answers requests until Shutdown, or until a listener fails, which ends the other
// too: half a server would look like one that is well.
func (s *Server) Serve() error {
	s.serve(s.data, s.dataLn)
	if s.adminLn != nil {
		s.serve(s.admin, s.adminLn)
	}
	s.served.Wait()
	select {
	case err := <-s.failed:
		return err
	default:
		return nil
	}
}

func (s *Server) serve(srv *fasthttp.Server, ln net.Listener) {
	s.served.Go(func() {
		err := srv.Serve(ln)
		if err == nil || errors.Is(err, net.ErrClosed) {
			return
		}
		s.failed <- fmt.Errorf("serve %s: %w", ln.Addr(), err)
		_ = s.dataLn.Close()
		if s.adminLn != nil {
			_ = s.adminLn.Close()
		}
	})
}

// Reload loads the configuration again, and the certificate. A bad one changes nothing.
// What listens stays as it was at the start; see kept.
func (s *Server) Reload(ctx context.Context) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	if err := s.renew(ctx); err != nil {
		s.metrics.reloads.WithLabelValues("failed").Inc()
		return err
	}
	s.metrics.reloads.WithLabelValues("ok").Inc()
	return nil
}

// renew puts what is in the file now in place of what is in use.
func (s *Server) renew(ctx context.Context) error {
	old := s.live.Acquire()
	defer old.Release()
	snap, err := s.opts.Load(ctx, old)
	if err != nil {
		return err
	}
	if s.cert.Load() != nil && snap.Server.TLS != nil {
		cert, err := loadCert(snap.Server.TLS)
		if err != nil {
			snap.Release()
			return err
		}
		s.cert.Store(cert)
	}
	if names := kept(&s.started, &snap.Server); len(names) > 0 {
		s.log.Warn("these settings of the section server have changed, which takes a restart: until then they stay as they were at the start", "settings", names)
	}
	s.publish(snap)
	return nil
}

// kept names the settings that differ from those of the start and that a reload cannot
// change.
func kept(start, now *config.Server) (names []string) {
	for _, setting := range [...]struct {
		name       string
		start, now any
	}{
		{"listen", start.Listen, now.Listen},
		{"admin", start.Admin, now.Admin},
		{"tls", start.TLS != nil, now.TLS != nil}, // a certificate is read anew
		{"access_log", start.AccessLog, now.AccessLog},
		{"limits.max_header", start.Limits.MaxHeader, now.Limits.MaxHeader},
		{"limits.body_memory", start.Limits.BodyMemory, now.Limits.BodyMemory},
		{"limits.max_connections", start.Limits.MaxConnections, now.Limits.MaxConnections},
		{"limits.max_connections_per_ip", start.Limits.MaxConnectionsPerIP, now.Limits.MaxConnectionsPerIP},
		{"timeouts.header", start.Timeouts.Header, now.Timeouts.Header},
		{"timeouts.write_idle", start.Timeouts.WriteIdle, now.Timeouts.WriteIdle},
		{"timeouts.keep_alive", start.Timeouts.KeepAlive, now.Timeouts.KeepAlive},
	} {
		if !reflect.DeepEqual(setting.start, setting.now) {
			names = append(names, setting.name)
		}
	}
	return names
}

// Shutdown stops accepting, lets running answers end, and gives those that do
// not end within the drain time, or before ctx ends, an error at their end.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	grace := s.site.Load().snap.Server.Timeouts.Drain
	// fasthttp closes the listeners that it serves; one that it does not serve
	// yet would be served in spite of the shutdown.
	_ = s.dataLn.Close()
	if s.adminLn != nil {
		defer func() { _ = s.adminLn.Close() }()
	}
	drain, cancel := context.WithTimeout(ctx, grace)
	err := s.data.ShutdownWithContext(drain)
	if errors.Is(err, net.ErrClosed) {
		err = nil // the listener that was closed above
	}
	cancel()
	if err != nil {
		s.watcher.each(func(c *conn) { c.cancel(pipeline.ErrShutdown) })
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		err = s.data.ShutdownWithContext(last)
		cancel()
	}
	if s.adminLn != nil {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		_ = s.admin.ShutdownWithContext(short)
		cancel()
	}
	s.access.Close()
	s.watcher.Close()
	s.swept.Wait()
	s.live.Swap(nil)
	if err != nil {
		return fmt.Errorf("some answers did not end within %s: %w", grace+lastWords, err)
	}
	return nil
}

// lastWords is how long answers have to tell their clients that the server is
// shutting down.
const lastWords = time.Second

// gatherer is all metrics: those of the edge, and those of the components in
// use.
func (s *Server) gatherer() (g prometheus.Gatherer, release func()) {
	st := s.acquire()
	return prometheus.Gatherers{s.metrics.registry, st.snap}, st.release
}
