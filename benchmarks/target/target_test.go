package target

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The test binary is its own target: a server that only accepts.
func TestMain(m *testing.M) {
	if addr := os.Getenv("TARGET_TEST_LISTEN"); addr != "" {
		if l, err := net.Listen("tcp4", addr); err == nil {
			time.Sleep(time.Minute)
			_ = l.Close()
		}
		return
	}
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	f := func(in string, want []Target, problem string) {
		t.Helper()
		got, err := Parse(strings.NewReader(in), "peers")
		if problem == "" && err != nil || problem != "" && (err == nil || !strings.Contains(err.Error(), problem)) {
			t.Errorf("error %v, want %q", err, problem)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	f("# comment\n\n a | http://127.0.0.1:$PORT | X: 1;; Y: 2 | exec a | b\n", []Target{{"a", "http://127.0.0.1:$PORT", []string{"X: 1", "Y: 2"}, "exec a | b"}}, "")
	f("b | http://127.0.0.1:80", []Target{{Name: "b", URL: "http://127.0.0.1:80"}}, "")
	f("# x\nlonely", nil, "peers:2:")
}

func TestAddress(t *testing.T) {
	f := func(url, wantAddr, wantPath string) {
		t.Helper()
		addr, path, err := address(url)
		if addr != wantAddr || path != wantPath || (err == nil) != (wantAddr != "") {
			t.Errorf("%s: %q, %q, %v", url, addr, path, err)
		}
	}
	f("http://127.0.0.1:81/api/", "127.0.0.1:81", "/api")
	f("http://[::1]:81", "[::1]:81", "")
	f("http://192.0.2.1:81", "", "")
	f("http://localhost:81", "", "")
	f("https://127.0.0.1:81", "", "")
	f("http://127.0.0.1", "", "")
}

func TestStartAndStop(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(Target{Name: "self", URL: "http://127.0.0.1:$PORT/base", Command: `TARGET_TEST_LISTEN=127.0.0.1:$PORT exec "$SELF"`}, Env{"SELF": self}, dir, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if p.Base != "/base" || len(p.PIDs()) == 0 {
		t.Errorf("base %q, processes %v", p.Base, p.PIDs())
	}
	p.Stop()
	if conn, err := net.Dial("tcp4", p.Addr); err == nil {
		_ = conn.Close()
		t.Error("it still accepts connections")
	}
}

func TestStartProblems(t *testing.T) {
	f := func(command, want string) error {
		t.Helper()
		_, err := Start(Target{Name: "bad", URL: "http://127.0.0.1:$PORT", Command: command}, nil, t.TempDir(), 5*time.Second)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", command, err, want)
		}
		return err
	}
	f("echo out of order; exit 3", "out of order")
	if err := f("A=1 exec /no/such/program -x", "not installed"); !errors.Is(err, ErrMissing) {
		t.Errorf("%v is not ErrMissing", err)
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that does not exist was read")
	}
}
