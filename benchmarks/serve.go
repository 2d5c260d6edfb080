package main

import (
	"flag"
	"fmt"
	"net"

	"github.com/headrace/headrace/benchmarks/mock"
	"github.com/headrace/headrace/benchmarks/reference"
)

// serve runs the mock upstream or a reference in the foreground.
func serve(args []string) error {
	servers := map[string]func(net.Listener, string) error{
		"raw": reference.Raw, "nethttp": reference.NetHTTP, "hello": reference.Hello,
	}
	if len(args) == 0 || args[0] != "mock" && servers[args[0]] == nil {
		return fmt.Errorf("serve what? mock, raw, nethttp or hello")
	}
	fs := flag.NewFlagSet("serve "+args[0], flag.ExitOnError)
	addr := fs.String("listen", "127.0.0.1:9100", "address to listen on")
	settings := mock.Defaults
	var upstream, second, qdrant, bolt string
	if args[0] == "mock" {
		settings.Flags(fs)
		fs.StringVar(&second, "second", "", "another address to listen on")
		fs.StringVar(&qdrant, "qdrant", "", "address of a vector store")
		fs.StringVar(&bolt, "bolt", "", "address of a graph store")
	} else {
		fs.StringVar(&upstream, "upstream", "127.0.0.1:9100", "where requests go")
	}
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	l, err := listen(*addr)
	if err != nil {
		return err
	}
	if args[0] != "mock" {
		return servers[args[0]](l, upstream)
	}
	listeners := []net.Listener{l}
	if second != "" {
		if l, err = listen(second); err != nil {
			return err
		}
		listeners = append(listeners, l)
	}
	m := mock.New(settings)
	failed := make(chan error, 3)
	go func() { failed <- m.Serve(listeners...) }()
	for addr, serve := range map[string]func(net.Listener) error{qdrant: m.ServeQdrant, bolt: m.ServeBolt} {
		if addr == "" {
			continue
		}
		l, err := listen(addr)
		if err != nil {
			return err
		}
		go func() { failed <- serve(l) }()
	}
	return <-failed
}

// listen listens on loopback only: these servers trust everybody.
func listen(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("listen on %q: not a loopback address", addr)
	}
	return net.Listen("tcp", addr)
}
