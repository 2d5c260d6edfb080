// Package qdrantserver is a server that Qdrant's own client takes for Qdrant,
// for tests: the calls that the gateway makes, over gRPC, answered out of
// memory or by Qdrant's engine. It can be slowed, frozen, stopped and started
// again on its address, and can ask for a key.
package qdrantserver

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A Backend keeps the points of collections that exist. Its errors are gRPC's.
type Backend interface {
	Create(name string, c *qdrant.CreateCollection) error
	Upsert(name string, points []*qdrant.PointStruct) error
	Delete(name string, of *qdrant.PointsSelector) error
	Get(name string, ids []*qdrant.PointId) ([]*qdrant.RetrievedPoint, error)
	Query(name string, q *qdrant.QueryPoints) ([]*qdrant.ScoredPoint, error)
	Count(name string, f *qdrant.Filter) (uint64, error)
	// Scroll returns a page, in the order of ids, and where the next one begins.
	Scroll(name string, r *qdrant.ScrollPoints) ([]*qdrant.RetrievedPoint, *qdrant.PointId, error)
}

// Server serves a backend. Its fields may be set before Start.
type Server struct {
	Backend Backend
	Key     string // that calls must show, if not empty
	// Before runs ahead of every call, with its short name, such as Upsert. An
	// error is the call's answer.
	Before func(ctx context.Context, call string) error

	qdrant.UnimplementedQdrantServer

	mu          sync.Mutex
	address     string // guarded by mu
	server      *grpc.Server
	collections map[string]*qdrant.CreateCollection // guarded by mu
	calls       map[string]int                      // guarded by mu
	log         []any                               // requests, guarded by mu
}

// Start listens on loopback, on the address it had before if it had one.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == "" {
		s.address = "127.0.0.1:0"
	}
	if s.collections == nil {
		s.collections, s.calls = map[string]*qdrant.CreateCollection{}, map[string]int{}
	}
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	s.server = grpc.NewServer(
		// The client pings every 10 s, with calls and without.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.MaxRecvMsgSize(256<<20), grpc.MaxSendMsgSize(256<<20),
		grpc.UnaryInterceptor(s.intercept),
	)
	qdrant.RegisterQdrantServer(s.server, s)
	qdrant.RegisterCollectionsServer(s.server, collections{of: s})
	qdrant.RegisterPointsServer(s.server, points{of: s})
	go func(g *grpc.Server) { _ = g.Serve(l) }(s.server)
	return nil
}

// Stop closes every connection at once, under running calls. Points stay.
func (s *Server) Stop() {
	s.mu.Lock()
	g := s.server
	s.server = nil
	s.mu.Unlock()
	if g != nil {
		g.Stop()
	}
}

// URL is where the server listens.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "http://" + s.address
}

// Calls is how often a call has come in.
func (s *Server) Calls(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

// Requests are all that came in, in order.
func (s *Server) Requests() []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]any(nil), s.log...)
}

func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	call := info.FullMethod[lastSlash(info.FullMethod)+1:]
	s.mu.Lock()
	s.calls[call]++
	s.log = append(s.log, req)
	before, key := s.Before, s.Key
	s.mu.Unlock()
	if key != "" && call != "HealthCheck" {
		if md, _ := metadata.FromIncomingContext(ctx); len(md.Get("api-key")) != 1 || md.Get("api-key")[0] != key {
			return nil, status.Error(codes.Unauthenticated, "Invalid API key or JWT")
		}
	}
	if before != nil {
		if err := before(ctx, call); err != nil {
			return nil, err
		}
	}
	return handler(ctx, req)
}

// SetBefore changes Before while the server runs.
func (s *Server) SetBefore(f func(ctx context.Context, call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Before = f
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}

// collection is a collection's settings, or the error that it is missing.
func (s *Server) collection(name string) (*qdrant.CreateCollection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.collections[name]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "Not found: Collection `%s` doesn't exist!", name)
	}
	return c, nil
}
