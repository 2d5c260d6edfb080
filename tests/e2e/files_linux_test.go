package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stub"
)

// Where the system allows few files, the gateway takes fewer connections, says so, and
// turns away the rest; when those have gone it is as before.
func TestFewFiles(t *testing.T) {
	up := stub.Start()
	defer up.Close()
	few := filepath.Join(t.TempDir(), "headrace")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n 128\nexec %s \"$@\"\n", harness.Binary(t))
	if err := os.WriteFile(few, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	g := harness.StartBinary(t, few, "gateway.yaml", "HEADRACE_UPSTREAM="+up.URL)
	if !strings.Contains(g.Log(), `"files":128,"max_connections":8192,"taken":32`) {
		t.Errorf("the log does not tell:\n%s", g.Log())
	}
	http.DefaultClient.CloseIdleConnections()
	crowd := connect(t, g, 200)
	harness.Until(t, "those too many are turned away", func() bool {
		return metric(t, g, "headrace_connections_turned_away_total") == "168"
	})
	leave(crowd)
	chat(t, g, "echo", unique())
}

// A gateway that can open no file takes no connection, and blames no upstream; when it can
// again, it goes on.
func TestNoFiles(t *testing.T) {
	up := stub.Start()
	defer up.Close()
	g := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+up.URL)
	chat(t, g, "echo", unique())
	http.DefaultClient.CloseIdleConnections()

	var was unix.Rlimit
	if err := unix.Prlimit(g.PID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 5, Max: 1024}, &was); err != nil {
		t.Skip("prlimit:", err)
	}
	waiting := connect(t, g, 3)
	harness.Until(t, "the log tells", func() bool { return strings.Contains(g.Log(), "connections cannot be taken for now") })
	if err := unix.Prlimit(g.PID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: 1024}, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range waiting { // those that have waited are served
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write([]byte("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Error(err)
		}
		if n, err := c.Read(make([]byte, 12)); err != nil || n != 12 {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	leave(waiting)
	chat(t, g, "echo", unique())
}

// connect opens connections that say nothing.
func connect(t *testing.T, g *harness.Gateway, n int) []net.Conn {
	t.Helper()
	var list []net.Conn
	for range n {
		c, err := net.Dial("tcp", strings.TrimPrefix(g.Root, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

func leave(list []net.Conn) {
	for _, c := range list {
		_ = c.Close()
	}
}
