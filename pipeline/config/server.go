package config

import (
	_ "embed"
	"time"
)

//go:embed server.go
var serverSource string

// Server is how the gateway listens, and the limits and timeouts that protect
// it from its clients.
type Server struct {
	// Listen is the address that clients connect to, as host:port. Without a
	// host it is every address of the machine. An address other than loopback
	// needs a stage that authenticates in front of every route.
	Listen string `yaml:"listen" check:"required"`
	// Open lets everybody use the gateway on an address other than loopback.
	// Whoever can reach it spends your money.
	Open bool `yaml:"open"`
	// Admin is the address of metrics, health, readiness and profiles, as
	// host:port. Empty switches it off.
	Admin string `yaml:"admin"`
	// OpenAdmin lets everybody use the admin address, which then need not be
	// loopback.
	OpenAdmin bool `yaml:"open_admin"`
	// TLS encrypts the connections to listen. Without it they are plain HTTP.
	TLS *TLS `yaml:"tls"`
	// AccessLog says which requests are written to the log, one line each.
	// Bodies and credentials never are.
	AccessLog string `yaml:"access_log" check:"enum=off|errors|all"`
	// Origins are the web pages that may use the gateway from a browser, each
	// written as https://host or https://host:port. "*" stands for every page
	// where a key is needed or open is set, and else for those that come from
	// this machine. With an empty list there are none.
	Origins []string `yaml:"origins"`
	// Limits bound what clients can make the gateway hold or do.
	Limits Limits `yaml:"limits"`
	// Timeouts bound how long clients can make the gateway wait.
	Timeouts Timeouts `yaml:"timeouts"`
}

// TLS is a certificate and its key, read when the gateway starts and with every reload.
type TLS struct {
	// Cert is the path of the certificate chain, in PEM.
	Cert string `yaml:"cert" check:"required"`
	// Key is the path of the private key, in PEM.
	Key string `yaml:"key" check:"required"`
}

// Limits bound what clients can make the gateway hold or do.
type Limits struct {
	// MaxHeader is the largest header of a request.
	MaxHeader Size `yaml:"max_header" check:"min=1KiB,max=1MiB"`
	// MaxBody is the largest body that is held in memory: JSON of the
	// operations that the gateway understands.
	MaxBody Size `yaml:"max_body" check:"min=1KiB,max=1GiB"`
	// MaxUpload is the largest body that streams through: files, audio,
	// images.
	MaxUpload Size `yaml:"max_upload" check:"min=1KiB"`
	// BodyMemory is how much memory the held bodies of all requests may take
	// together. A request that finds no room is refused with 503.
	BodyMemory Size `yaml:"body_memory" check:"min=1MiB"`
	// MaxConnections is how many connections may be open at once.
	MaxConnections int `yaml:"max_connections" check:"min=1"`
	// MaxConnectionsPerIP is how many of them one address may have; 0 sets no
	// bound.
	MaxConnectionsPerIP int `yaml:"max_connections_per_ip" check:"min=0"`
	// MaxConcurrent is how many requests may be in work at once. One more is
	// refused with 503.
	MaxConcurrent int `yaml:"max_concurrent" check:"min=1"`
}

// Timeouts bound how long clients can make the gateway wait.
type Timeouts struct {
	// Header is the time for a request's header, from its first byte.
	Header time.Duration `yaml:"header" check:"min=1ms"`
	// BodyIdle is the longest pause while a request's body arrives.
	BodyIdle time.Duration `yaml:"body_idle" check:"min=1ms"`
	// WriteIdle is the longest wait for a client that does not take its
	// answer.
	WriteIdle time.Duration `yaml:"write_idle" check:"min=1ms"`
	// KeepAlive is how long a connection may rest between two requests.
	KeepAlive time.Duration `yaml:"keep_alive" check:"min=1ms"`
	// Stream is the longest that one answer may take as a whole; 0s sets no
	// bound.
	Stream time.Duration `yaml:"stream" check:"min=0s"`
	// Drain is how long running answers are waited for when the gateway
	// stops.
	Drain time.Duration `yaml:"drain" check:"min=0s"`
}

// DefaultServer is the section server of a file that says nothing of it.
func DefaultServer() Server {
	return Server{
		Listen:    "127.0.0.1:8080",
		Admin:     "127.0.0.1:8081",
		AccessLog: "errors",
		Origins:   []string{"*"},
		Limits: Limits{
			MaxHeader:      16 << 10,
			MaxBody:        32 << 20,
			MaxUpload:      512 << 20,
			BodyMemory:     256 << 20,
			MaxConnections: 8192,
			MaxConcurrent:  4096,
		},
		Timeouts: Timeouts{
			Header:    10 * time.Second,
			BodyIdle:  30 * time.Second,
			WriteIdle: 30 * time.Second,
			KeepAlive: 90 * time.Second,
			Stream:    time.Hour,
			Drain:     30 * time.Second,
		},
	}
}
