package reference

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/headrace/headrace/benchmarks/mock"
	"github.com/headrace/headrace/benchmarks/payload"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestReferences(t *testing.T) {
	upstream := listen(t)
	settings := mock.Defaults
	settings.Chunks, settings.Pace = 3, time.Millisecond
	go func() { _ = mock.New(settings).Serve(upstream) }()

	ask := func(addr string, stream bool, want string) error {
		resp, err := http.Post("http://"+addr+"/v1/chat/completions", "application/json", bytes.NewReader(payload.Chat(1<<10, stream)))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != 200 || !bytes.Contains(b, []byte(want))) {
			err = fmt.Errorf("status %d: %.300s", resp.StatusCode, b)
		}
		return err
	}
	f := func(serve func(net.Listener, string) error, stream bool, want string, tries int) {
		t.Helper()
		l := listen(t)
		go func() { _ = serve(l, upstream.Addr().String()) }()
		for range 2 { // the second time over a connection that was used before
			err := ask(l.Addr().String(), stream, want)
			for i := 1; err != nil && i < tries; i++ {
				err = ask(l.Addr().String(), stream, want)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	whole, end := `"finish_reason":"stop"`, "data: [DONE]\n\n"
	f(Raw, false, whole, 1)
	f(Raw, true, end, 1)
	f(NetHTTP, false, whole, 1)
	// The standard proxy cuts a few streams in a hundred short; that it does is no
	// reason to fail.
	f(NetHTTP, true, end, 5)
	f(Hello, false, whole, 1)
}
