// Package qdrant keeps passages in a Qdrant server, reached over gRPC.
//
// All tenants share a collection; each point carries its tenant, and every call
// filters by it. A collection is made on its first write, with a dense vector
// compared by cosine and a sparse one made of words, and is never dropped or
// made anew. Scores of the two legs come back raw: fusing them is the caller's
// business.
package qdrant

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed qdrant.go
var source string

// Component describes qdrant to a registry.
var Component = config.Define[pipeline.VectorStore]("qdrant", Config{
	Timeout:      2 * time.Second,
	WriteTimeout: 30 * time.Second,
	Connections:  3,
	MaxCalls:     1024,
	MaxReply:     64 << 20,
}, source)

// Config keeps passages in a Qdrant server.
type Config struct {
	// URL of the server's gRPC port, such as http://localhost:6334. With https
	// the connection is encrypted; the port is 6334 where none is written.
	URL string `yaml:"url" check:"required"`
	// Key is sent with every call. Without https it can be read on the way.
	Key config.Secret `yaml:"key"`
	// Prefix stands before the name of every collection on the server, so that
	// several installations can share it.
	Prefix string `yaml:"prefix"`
	// Timeout bounds one reading call.
	Timeout time.Duration `yaml:"timeout" check:"min=10ms,max=5m"`
	// WriteTimeout bounds one writing call.
	WriteTimeout time.Duration `yaml:"write_timeout" check:"min=100ms,max=30m"`
	// Connections to the server, used in turn.
	Connections int `yaml:"connections" check:"min=1,max=64"`
	// MaxCalls is how many calls may be under way at a time. Further ones wait
	// for as long as their request does.
	MaxCalls int `yaml:"max_calls" check:"min=1,max=10000"`
	// MaxReply is the largest answer taken from the server.
	MaxReply config.Size `yaml:"max_reply" check:"min=1MiB,max=1GiB"`
}

// Validate checks the address.
func (c Config) Validate() error {
	if c.URL == "" {
		return nil // reported as missing
	}
	_, _, _, err := c.address()
	return err
}

// address takes the URL apart.
func (c Config) address() (host string, port int, encrypted bool, err error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", 0, false, errors.New("url: write it as http://host:6334 or https://host:6334")
	}
	if u.User != nil || u.RawQuery != "" || (u.Path != "" && u.Path != "/") {
		return "", 0, false, errors.New("url: nothing may follow the port, and no user stand before the host; the key has a setting of its own")
	}
	port = 6334
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return "", 0, false, fmt.Errorf("url: %q is not a port", p)
		}
	}
	return u.Hostname(), port, u.Scheme == "https", nil
}

// Build implements config.Builder. It connects to nothing: a server that is
// down is an error of the calls that need it.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.VectorStore, error) {
	host, port, encrypted, err := c.address()
	if err != nil {
		return nil, err
	}
	if c.Key != "" && !encrypted && !loopback(host) {
		env.Log.Warn("the key of the vector store is sent without encryption; use https")
	}
	settings := &client.Config{
		Host: bracketed(host), Port: port, UseTLS: encrypted,
		PoolSize: uint(c.Connections),
		// The check asks the server and waits up to a minute for it.
		SkipCompatibilityCheck: true,
		GrpcOptions: []grpc.DialOption{
			// gRPC's own wait grows to two minutes; a server that is back is to
			// be used within a second.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
				MinConnectTimeout: 2 * time.Second,
			}),
			// An answer of a hundred passages is larger than HTTP/2's own window of
			// 64 KiB; growing it takes a ping for each.
			grpc.WithStaticStreamWindowSize(4 << 20), grpc.WithStaticConnWindowSize(16 << 20),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(int(c.MaxReply))),
		},
	}
	if c.Key != "" {
		// As a header of ours the key is sent just the same, but the client
		// does not write its warning to the process-wide log.
		settings.Headers = map[string]string{"api-key": string(c.Key)}
	}
	conn, err := client.NewClient(settings)
	if err != nil {
		return nil, fmt.Errorf("set up the connection to the vector store: %w", err)
	}
	s, err := newStore(c, conn, env)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

// bracketed is the host as it stands before a port.
func bracketed(host string) string {
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return "[" + host + "]"
	}
	return host
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
