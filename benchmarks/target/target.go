// Package target knows the servers that are compared: one line of a file for
// each, and each a process of its own while it is measured.
package target

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
)

// A Target is one server, as written in a file:
//
//	name | url | request headers, ";;" between them | start command
//
// $PORT stands for a free port, $ADMIN for another free address, and every
// other variable for what the environment says, in all but the name. The command is run by sh and must stay in the
// foreground. Without one the server runs already.
type Target struct {
	Name    string
	URL     string
	Header  []string
	Command string
}

// Parse reads targets from r. The file name is for errors.
func Parse(r io.Reader, file string) ([]Target, error) {
	var targets []Target
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.SplitN(line, "|", 4)
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		if len(f) < 2 || f[0] == "" || f[1] == "" {
			return nil, fmt.Errorf("%s:%d: want name | url | headers | start command, got %q", file, n, line)
		}
		f = append(f, "", "")
		t := Target{Name: f[0], URL: f[1], Command: f[3]}
		for h := range strings.SplitSeq(f[2], ";;") {
			if h = strings.TrimSpace(h); h != "" {
				t.Header = append(t.Header, h)
			}
		}
		targets = append(targets, t)
	}
	return targets, lines.Err()
}

// ReadFile reads the targets that a file declares.
func ReadFile(file string) ([]Target, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Parse(f, file)
}

// Env is what commands and URLs may refer to, beside the environment of this
// process.
type Env map[string]string

func (e Env) expand(s string) string {
	return os.Expand(s, func(name string) string {
		if v, ok := e[name]; ok {
			return v
		}
		return os.Getenv(name)
	})
}

// address takes a URL apart and refuses what is not on this machine.
func address(raw string) (addr, path string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", err
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "http" || ip == nil || !ip.IsLoopback() || u.Port() == "" {
		return "", "", fmt.Errorf("url %q: want http://127.0.0.1:PORT; other machines are never loaded", raw)
	}
	return u.Host, strings.TrimSuffix(u.Path, "/"), nil
}

// FreeAddr returns a loopback address that nobody listens on.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
