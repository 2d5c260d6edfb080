package reference

import (
	"bytes"
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

	f := func(serve func(net.Listener, string) error, stream bool, want string) {
		t.Helper()
		l := listen(t)
		go func() { _ = serve(l, upstream.Addr().String()) }()
		for range 2 { // the second time over a connection that was used before
			resp, err := http.Post("http://"+l.Addr().String()+"/v1/chat/completions", "application/json", bytes.NewReader(payload.Chat(1<<10, stream)))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 || !bytes.Contains(b, []byte(want)) {
				t.Errorf("status %d, %v: %.300s", resp.StatusCode, err, b)
			}
			_ = resp.Body.Close()
		}
	}
	whole, end := `"finish_reason":"stop"`, "data: [DONE]\n\n"
	f(Raw, false, whole)
	f(Raw, true, end)
	f(NetHTTP, false, whole)
	f(NetHTTP, true, end)
	f(Hello, false, whole)
}
