package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestDepartedClients needs the end of the client's connection to end the
// exchange within 50 ms: before the first byte and between events, by FIN and
// by RST, over TCP and over TLS, with another request already queued.
func TestDepartedClients(t *testing.T) {
	cert, key := certificate(t)
	for _, secure := range []bool{false, true} {
		for _, when := range []string{"before the first byte", "between events"} {
			for _, how := range []string{"fin", "rst", "queued"} {
				name := fmt.Sprintf("%s, %s, tls %v", when, how, secure)
				extra := ""
				if secure {
					extra = fmt.Sprintf("tls: { cert: %q, key: %q }", cert, key)
				}
				d := departure{t: t, secure: secure, how: how, waiting: make(chan struct{}, 1), gone: make(chan time.Time, 1)}
				scripts.Store(name, script(func(ctx context.Context, ex *pipeline.Exchange) error {
					return d.serve(ctx, ex, when == "before the first byte")
				}))
				d.rig = startFile(t, func() string { return file(name, extra) })
				// A machine that is busy with other things gets two more tries.
				took := d.times()
				for range 2 {
					if took[len(took)-2] > 50*time.Millisecond {
						took = d.times()
					}
				}
				if worst := took[len(took)-2]; worst > 50*time.Millisecond {
					t.Errorf("%s: noticed after %v (median %v)", name, worst, took[len(took)/2])
				}
			}
		}
	}
}

// A departure is one way for a client to leave.
type departure struct {
	t       *testing.T
	rig     *rig
	secure  bool
	how     string
	waiting chan struct{}
	gone    chan time.Time
}

// serve answers with silence, at once or after one event, and notes when it is
// told to stop.
func (d *departure) serve(ctx context.Context, ex *pipeline.Exchange, atOnce bool) error {
	wait := func() error {
		d.waiting <- struct{}{}
		<-ctx.Done()
		d.gone <- time.Now()
		return pipeline.Cause(ctx)
	}
	if atOnce {
		return wait()
	}
	n := 0
	return events(ex, &feed{next: func() ([]byte, error) {
		if n++; n == 1 {
			return []byte("data: {}\n\n"), nil
		}
		return nil, wait()
	}})
}

// times has clients leave and returns how long it took to notice, sorted.
func (d *departure) times() (took []time.Duration) {
	for range 40 {
		raw := d.rig.dial()
		c := raw
		if d.secure {
			c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) // #nosec G402 -- a certificate of this test
		}
		request := post(streamBody)
		if d.how == "queued" {
			request += request[:20]
		}
		if _, err := io.WriteString(c, request); err != nil {
			d.t.Fatal(err)
		}
		<-d.waiting
		if d.how == "rst" {
			_ = raw.(*net.TCPConn).SetLinger(0)
		}
		left := time.Now()
		_ = raw.Close()
		took = append(took, (<-d.gone).Sub(left))
	}
	slices.Sort(took)
	return took
}

func TestShutdownLetsStreamsEnd(t *testing.T) {
	const streams = 500
	var open atomic.Int32
	finish := make(chan struct{})
	r := start(t, "", func(ctx context.Context, ex *pipeline.Exchange) error {
		open.Add(1)
		n := 0
		return events(ex, &feed{next: func() ([]byte, error) {
			switch n++; n {
			case 1:
				return []byte("data: {}\n\n"), nil
			case 2:
				select {
				case <-finish:
					return []byte("data: [DONE]\n\n"), nil
				case <-ctx.Done():
					return nil, pipeline.Cause(ctx)
				}
			}
			return nil, io.EOF
		}})
	})
	var whole atomic.Int32
	var wg sync.WaitGroup
	for range streams {
		c := r.dial()
		wg.Go(func() {
			_, _ = io.WriteString(c, post(streamBody))
			_, body, err := readAnswer(bufio.NewReader(c))
			if err == nil && strings.HasSuffix(body, "data: [DONE]\n\n") {
				whole.Add(1)
			}
		})
	}
	eventually(t, "all streams open", func() bool { return open.Load() == streams })
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	eventually(t, "not ready", func() bool {
		resp, err := http.Get("http://" + r.AdminAddr().String() + "/health/readiness")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == 503
	})
	close(finish)
	if err := <-done; err != nil {
		t.Error(err)
	}
	wg.Wait()
	if n := whole.Load(); n != streams {
		t.Errorf("%d of %d streams ended whole", n, streams)
	}
}

// TestShutdownEndsTheRest needs answers that outlast the grace to be told so,
// and not to look whole.
func TestShutdownEndsTheRest(t *testing.T) {
	waiting := make(chan struct{}, 1)
	r := start(t, "timeouts: { drain: 50ms }", func(ctx context.Context, ex *pipeline.Exchange) error {
		n := 0
		return events(ex, &feed{next: func() ([]byte, error) {
			if n++; n == 1 {
				return []byte("data: {}\n\n"), nil
			}
			waiting <- struct{}{}
			<-ctx.Done()
			return nil, pipeline.Cause(ctx)
		}})
	})
	c := r.dial()
	_, _ = io.WriteString(c, post(streamBody))
	<-waiting
	if err := r.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	_, body, err := readAnswer(bufio.NewReader(c))
	if err == nil || !strings.Contains(body, `"code":"shutting_down"`) {
		t.Errorf("%q %v", body, err)
	}
}

// TestReloadUnderLoad swaps configurations while requests run: none fails, and
// each is served by one configuration.
func TestReloadUnderLoad(t *testing.T) {
	for _, name := range []string{"a", "b"} {
		scripts.Store(t.Name()+name, script(func(_ context.Context, ex *pipeline.Exchange) error {
			return answer(ex, name+string(ex.Target.Name[1]))
		}))
	}
	var version atomic.Int32
	r := startFile(t, func() string {
		n := version.Load()
		if n < 0 {
			return "nonsense: 1"
		}
		v := string("ab"[n%2])
		return strings.NewReplacer("p: {", "p"+v+": {", "provider: p ", "provider: p"+v+" ").Replace(file(t.Name()+v, ""))
	})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var served atomic.Int64
	for range 4 {
		c := r.dial()
		wg.Go(func() {
			br := bufio.NewReader(c)
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, _ = io.WriteString(c, post(plainBody))
				resp, body, err := readAnswer(br)
				if err != nil || resp.StatusCode != 200 || body != "aa" && body != "bb" {
					t.Errorf("%v %q %v", resp, body, err)
					return
				}
				served.Add(1)
			}
		})
	}
	for i := range 100 {
		version.Store(int32(i))
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	version.Store(-1)
	if err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a bad file: %v", err)
	}
	eventually(t, "requests after the bad file", func() bool { return served.Load() > 200 })
	close(stop)
	wg.Wait()
}

func TestTooManyConnections(t *testing.T) {
	for _, limit := range []string{"max_connections: 2", "max_connections_per_ip: 2"} {
		t.Run(limit, func(t *testing.T) { tooManyConnections(t, limit) })
	}
}

func tooManyConnections(t *testing.T, limit string) {
	r := start(t, "limits: { "+limit+" }", func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") })
	a, b := r.dial(), r.dial()
	for _, c := range []net.Conn{a, b} {
		_, _ = io.WriteString(c, post(plainBody))
		if resp, _, err := readAnswer(bufio.NewReader(c)); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
	}
	resp, body, err := readAnswer(bufio.NewReader(r.dial()))
	if err != nil {
		t.Fatal(err)
	}
	checkError(t, resp, body, 503, "overloaded")
	_ = a.Close()
	eventually(t, "room again", func() bool {
		c := r.dial()
		defer c.Close()
		_, _ = io.WriteString(c, post(plainBody))
		resp, _, err := readAnswer(bufio.NewReader(c))
		return err == nil && resp.StatusCode == 200
	})
}

func TestTooManyRequests(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	r := start(t, "limits: { max_concurrent: 1 }", func(_ context.Context, ex *pipeline.Exchange) error {
		<-release
		return answer(ex, "{}")
	})
	defer once.Do(func() { close(release) })
	first := r.dial()
	_, _ = io.WriteString(first, post(plainBody))
	eventually(t, "the first running", func() bool { return r.running.Load() == 1 })
	r.wantError(post(plainBody), 503, "overloaded")
	once.Do(func() { close(release) })
	if resp, _, err := readAnswer(bufio.NewReader(first)); err != nil || resp.StatusCode != 200 {
		t.Errorf("the first: %v %v", resp, err)
	}
	eventually(t, "room again", func() bool {
		resp, _, err := r.raw(post(plainBody))
		return err == nil && resp.StatusCode == 200
	})
}

// TestUploadsStream needs a body that is passed through to arrive piece by
// piece, with its length, and an answer not to wait for it.
func TestUploadsStream(t *testing.T) {
	pieces := make(chan string)
	r := start(t, "limits: { max_upload: 1MiB }", func(_ context.Context, ex *pipeline.Exchange) error {
		if strings.HasSuffix(string(ex.Request.Header.RequestURI()), "/early") {
			return answer(ex, `{"early":true}`)
		}
		if len(ex.Request.Body) > 0 {
			t.Error("the body was held")
		}
		buf := make([]byte, 4096)
		total := 0
		for {
			n, err := ex.Request.Upload.Read(buf)
			total += n
			if n > 0 && total < 100 {
				pieces <- string(buf[:n])
			}
			if err == io.EOF {
				return answer(ex, fmt.Sprintf(`{"size":%d,"read":%d}`, ex.Request.UploadSize, total))
			}
			if err != nil {
				return err
			}
		}
	})
	c := r.dial()
	send := func(s string) { _, _ = io.WriteString(c, s) }
	send("POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 6\r\n\r\nab")
	got := <-pieces
	for len(got) < 2 {
		got += <-pieces
	}
	send("cd")
	for len(got) < 4 {
		got += <-pieces
	}
	send("ef")
	for len(got) < 6 {
		got += <-pieces
	}
	br := bufio.NewReader(c)
	if resp, body, err := readAnswer(br); err != nil || body != `{"size":6,"read":6}` || got != "abcdef" || resp.Close {
		t.Errorf("%v %q %v; pieces %q", resp, body, err, got)
	}
	send("POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	<-pieces
	send("0\r\n\r\n")
	if resp, body, err := readAnswer(br); err != nil || body != `{"size":-1,"read":3}` {
		t.Errorf("chunked: %v %q %v", resp, body, err)
	}
	send("POST /v1/early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nab")
	if resp, body, err := readAnswer(br); err != nil || body != `{"early":true}` || !resp.Close {
		t.Errorf("an early answer: %v %q %v", resp, body, err)
	}
	r.wantError("POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\nab", 413, "request_too_large")
}

// TestAnswersSurviveUnreadBodies needs a client that reads only after it has
// sent everything to get the refusal, and not a reset.
func TestAnswersSurviveUnreadBodies(t *testing.T) {
	r := start(t, "limits: { max_body: 1MiB }", func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") })
	const size = 24 << 20
	f := func(head string, status int, code string) {
		t.Helper()
		c := r.dial()
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatal(err)
		}
		piece := bytes.Repeat([]byte{' '}, 1<<20)
		for range size >> 20 {
			if _, err := c.Write(piece); err != nil {
				t.Fatalf("the connection was reset: %v", err)
			}
		}
		resp, body, err := readAnswer(bufio.NewReader(c))
		if err != nil {
			t.Fatal(err)
		}
		checkError(t, resp, body, status, code)
	}
	for range 3 {
		f(fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size), 413, "request_too_large")
		f(fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nContent-Length: 1\r\n\r\n", size), 400, "malformed_request")
	}
}

// TestUnwantedBodiesEndTheConnection needs an answer that did not wait for the body to say
// that nothing behind that will be read, where it says so, and the next one to come else.
func TestUnwantedBodiesEndTheConnection(t *testing.T) {
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") })
	f := func(target string, size int) {
		t.Helper()
		c := r.dial()
		go func() {
			_, _ = fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", target, size, strings.Repeat("x", size))
			_, _ = io.WriteString(c, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
		}()
		br := bufio.NewReader(c)
		resp, _, err := readAnswer(br)
		if err != nil || resp.Close != (size > maxSkip) {
			t.Fatalf("%s with %d bytes: %v %v", target, size, resp, err)
		}
		if resp.Close {
			if _, err := br.ReadByte(); err != io.EOF {
				t.Errorf("%s with %d bytes: %v behind the answer", target, size, err)
			}
		} else if resp, body, err := readAnswer(br); err != nil || body != `{"ok":true}` {
			t.Errorf("%s with %d bytes: %v %v behind the answer", target, size, resp, err)
		}
	}
	for _, size := range []int{5, maxSkip, maxSkip + 1, 1 << 20} {
		f("POST /health", size)
		f("OPTIONS *", size)
		f("OPTIONS /v1/chat/completions HTTP/1.1\r\nOrigin: http://localhost\r\nAccess-Control-Request-Method: POST\r\nX:", size)
		f("POST /nothing", size)
		f("POST /v1/a/../b", size)
	}
}

// TestAnswersSurviveWhatComesBehind needs the answer on a connection that is to be closed
// to end in order, and not in a reset, whatever the client sends behind its request.
func TestAnswersSurviveWhatComesBehind(t *testing.T) {
	cert, key := certificate(t)
	sent := make(chan struct{})
	serve := func(_ context.Context, ex *pipeline.Exchange) error {
		<-sent
		return answer(ex, "{}")
	}
	plain := start(t, "", serve)
	secure := startFile(t, func() string { return file(t.Name(), fmt.Sprintf("tls: { cert: %q, key: %q }", cert, key)) })
	f := func(c net.Conn, request, behind string, half bool) {
		t.Helper()
		_, _ = io.WriteString(c, request)
		eventually(t, "the request", func() bool { return plain.running.Load()+secure.running.Load() == 1 })
		_, _ = io.WriteString(c, behind)
		if half {
			_ = c.(*net.TCPConn).CloseWrite()
		}
		time.Sleep(20 * time.Millisecond) // for the bytes to be there: nobody reads them
		sent <- struct{}{}
		raw, err := io.ReadAll(c)
		if err != nil || !bytes.HasSuffix(raw, []byte("{}")) {
			t.Errorf("%.40q before %.10q: %q, %v", request, behind, raw, err)
		}
	}
	closing := strings.Replace(post(plainBody), "Host: a", "Host: a\r\nConnection: close", 1)
	old := strings.Replace(post(plainBody), "HTTP/1.1", "HTTP/1.0", 1)
	for _, request := range []string{closing, old} {
		for _, behind := range []string{"\r\n", closing, strings.Repeat("x", 1<<20)} {
			f(plain.dial(), request, behind, false)
			f(plain.dial(), request, behind, true)
			c := tls.Client(secure.dial(), &tls.Config{InsecureSkipVerify: true})
			f(c, request, behind, false)
		}
	}
}

// TestDeclaredLengthAllocatesNothing holds many connections that declare much
// and send one byte.
func TestDeclaredLengthAllocatesNothing(t *testing.T) {
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") })
	for range 100 {
		c := r.dial()
		_, _ = io.WriteString(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 33000000\r\n\r\n{")
	}
	eventually(t, "all being read", func() bool { return r.running.Load() == 100 })
	if held := 256<<20 - r.memory.left.Load(); held > 1<<20 {
		t.Errorf("%d bytes are held for 100", held)
	}
}

// TestEdgeAllocatesNothing holds a request whose answer a stage has ready to
// zero allocations, from the first byte read to the last written.
func TestEdgeAllocatesNothing(t *testing.T) {
	if pipetest.Race {
		t.Skip("the race detector makes pools allocate")
	}
	body := []byte(`{"object":"chat.completion","choices":[]}`)
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		ex.Response.Header.SetStatusCode(200)
		ex.Response.Header.SetContentType("application/json")
		ex.Response.Header.Set("X-Request-Id", "theirs")
		ex.Response.SetBody(body)
		return nil
	})
	c := r.dial()
	request := []byte(post(plainBody))
	buf := make([]byte, 4096)
	once := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], body); {
			m, err := c.Read(buf[n:])
			if n += m; err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 200 {
		once()
	}
	if n := testing.AllocsPerRun(500, once); n >= 1 {
		t.Errorf("%v allocations for a request", n)
	}
}
