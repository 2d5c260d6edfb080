package faults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/tests/harness"
)

// full says that there is time for everything.
var full = os.Getenv("HEADRACE_FAULTS") == "full"

func TestMain(m *testing.M) {
	if _, set := os.LookupEnv("HEADRACE_RACE"); !set && canRace() {
		_ = os.Setenv("HEADRACE_RACE", "1")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	hole.addr = ln.Addr().String()
	go func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			hole.touched.Add(1)
			_ = c.Close()
		}
	}()
	listKinds(hole.addr)
	code := m.Run()
	if n := hole.touched.Load(); n > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: %d connections to an address that only requests and redirects named\n", n)
		code = 1
	}
	harness.Clean()
	_ = os.RemoveAll(plain.dir)
	os.Exit(code)
}

// hole is an address that nobody may connect to: requests and redirects name it.
var hole struct {
	addr    string
	touched atomic.Int64
}

// canRace reports whether a program with the race detector can be built here.
func canRace() bool {
	out, err := exec.Command("go", "env", "CGO_ENABLED").Output()
	return err == nil && strings.TrimSpace(string(out)) == "1"
}

var plain struct {
	once sync.Once
	dir  string
	err  error
}

// plainBinary is the gateway without the race detector, for what is measured.
func plainBinary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("HEADRACE_BINARY"); path != "" {
		return path
	}
	plain.once.Do(func() {
		if plain.dir, plain.err = os.MkdirTemp("", "headrace-faults"); plain.err != nil { //nolint:usetesting // for all tests, gone in TestMain
			return
		}
		cmd := exec.Command("go", "build", "-o", plain.dir+"/headrace", "./cmd/headrace")
		cmd.Dir = harness.Root(t)
		if out, err := cmd.CombinedOutput(); err != nil {
			plain.err = fmt.Errorf("build the gateway: %w\n%s", err, out)
		}
	})
	if plain.err != nil {
		t.Fatal(plain.err)
	}
	return plain.dir + "/headrace"
}

// write makes a configuration file and returns its path.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// authority makes a certificate authority, in a file, and certificates.
type authority struct {
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	der := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}).Certificate[0]
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign makes a certificate; the first is its own authority.
func (a *authority) sign(t testing.TB, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if a.key == nil {
		a.key, a.cert = key, template
	}
	der, err := x509.CreateCertificate(crand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == template {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// server is a TLS setup with a certificate for name until end.
func (a *authority) server(t testing.TB, name string, end time.Time) *tls.Config {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{name}
	}
	return &tls.Config{Certificates: []tls.Certificate{a.sign(t, c)}}
}

// A rig is a gateway with a crowd's worth of clients in front and broken
// upstreams behind it.
type rig struct {
	*harness.Gateway
	mode    string
	bad     []*origin
	good    *origin
	hidden  []string // what must be in no answer
	client  *http.Client
	serial  atomic.Int64
	mu      sync.Mutex
	late    int           // answers that came later than a second after the limits; guarded by mu
	longest time.Duration // guarded by mu
	faults  int           // guarded by mu
}

// How a rig's models are served.
const (
	solo   = "one upstream"
	backed = "a good second upstream"
	double = "two bad upstreams"
)

// newRig starts a gateway. Its models are m, for an origin that does what X-Fault says, and one for each
// kind of upstream that cannot be connected to.
func newRig(t *testing.T, mode string) *rig {
	r := &rig{mode: mode, good: newOrigin(t, "good", nil), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}}
	r.bad = []*origin{newOrigin(t, "bad", nil), newOrigin(t, "worse", nil)}
	ca := newAuthority(t)
	hour := time.Now().Add(time.Hour)
	address := map[string]string{
		"refused": "http://" + harness.FreeAddress(t) + "/v1", "dns": "http://nowhere.invalid/v1", "tls-to-plain": "https://" + r.bad[0].addr + "/v1",
		"tls-expired":  "https://" + newOrigin(t, "expired", ca.server(t, "127.0.0.1", time.Now().Add(-time.Hour))).addr + "/v1",
		"tls-name":     "https://" + newOrigin(t, "other", ca.server(t, "elsewhere.example", hour)).addr + "/v1",
		"plain-to-tls": newOrigin(t, "tls", ca.server(t, "127.0.0.1", hour)).url(),
		"m":            r.bad[0].url(), "worse": r.bad[1].url(), "good": r.good.url(),
	}
	var providers, models strings.Builder
	for name, url := range address {
		fmt.Fprintf(&providers, "  p-%s: { litellm: { url: %q, key: %q, headers: { X-Secret: %q }, ca: %q, connect: %s, first_byte: %s, idle: %s, max_response: %d, max_event: %d } }\n",
			name, url, canaryKey, canaryHeader, ca.file, limitConnect, limitFirst, limitIdle, limitAnswer, limitEvent)
		targets := "{ provider: p-" + name + " }"
		switch mode {
		case backed:
			targets += ", { provider: p-good }"
		case double:
			targets += ", { provider: p-worse }"
		}
		fmt.Fprintf(&models, "  %s: [ %s ]\n", name, targets)
		_, where, _ := strings.Cut(url, "://")
		where, _, _ = strings.Cut(where, "/")
		r.hidden = append(r.hidden, where)
	}
	r.hidden = append(r.hidden, hole.addr, canaryKey, canaryHeader, canaryClient, canaryBytes)
	r.Gateway = harness.Start(t, write(t, `
server:
  listen: "${HEADRACE_LISTEN}"
  admin: "${HEADRACE_ADMIN}"
  access_log: all
  timeouts: { stream: `+limitStream.String()+` }
before: [ auth: { keys: "acme=`+canaryClient+`" } ]
providers:
`+providers.String()+"models:\n"+models.String()+`
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain: [ race: { after: `+hedgeAfter.String()+`, budget: 100% } ]
`))
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

// A result is what a client has seen.
type result struct {
	status  int
	header  http.Header
	body    string
	err     error // how the body ended; nil for as it should
	took    time.Duration
	refused error // there was no answer at all
}

func (a result) String() string {
	if a.refused != nil {
		return "no answer: " + a.refused.Error()
	}
	return fmt.Sprintf("%d after %v, ended by %v\n%v\n%.1500s", a.status, a.took, a.err, a.header, a.body)
}

// ask sends a chat request that has the fault's script answer it.
func (r *rig) ask(fault, marker string, stream bool) result {
	model := "m"
	if kinds[fault].refuses {
		model = fault
	}
	body := fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":%q}]}`, model, stream, marker)
	if fault == "early-413" {
		body = body[:len(body)-1] + `,"padding":"` + strings.Repeat("x", 300<<10) + `"}`
	}
	req, err := http.NewRequest(http.MethodPost, r.URL+"/chat/completions", strings.NewReader(body))
	if err != nil {
		return result{refused: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+canaryClient)
	req.Header.Set("X-Fault", fault)
	req.Header.Set("X-Marker", marker)
	return do(r.client, req)
}

// do sends a request and reads the whole answer.
func do(client *http.Client, req *http.Request) result {
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return result{refused: err, took: time.Since(began)}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return result{status: resp.StatusCode, header: resp.Header, body: string(b), err: err, took: time.Since(began)}
}

// marker is a text that no other request has.
func (r *rig) marker() string { return fmt.Sprintf("mark-%s-%06d-end", r.mode[:3], r.serial.Add(1)) }

// goroutines is how many the gateway has, but for the server's workers, which
// wait ten seconds for a next connection.
func goroutines(t testing.TB, g *harness.Gateway) int {
	t.Helper()
	resp, err := http.Get(g.Admin + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for group := range strings.SplitSeq(string(b), "\n\n") {
		if strings.Contains(group, "workerPool") && !strings.Contains(group, "serveConn") {
			continue
		}
		for line := range strings.Lines(group) {
			if n, _, ok := strings.Cut(line, " @ "); ok {
				if n, err := strconv.Atoi(n); err == nil {
					count += n
				}
			}
		}
	}
	return count
}

// files is how many files and connections the gateway has open.
func files(t testing.TB, g *harness.Gateway) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.PID()))
	if err != nil {
		t.Skipf("this system does not tell what a process has open: %v", err)
	}
	return len(entries)
}

// memory is how much of it the gateway has in use, in bytes.
func memory(t testing.TB, g *harness.Gateway) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", g.PID()))
	if err != nil {
		t.Skipf("this system does not tell how much memory a process has: %v", err)
	}
	fields := strings.Fields(string(b))
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// peak watches the memory of a gateway until the function that it returns is
// called, which tells the most.
func peak(t testing.TB, g *harness.Gateway) func() int64 {
	most, stop, ended := memory(t, g), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				most = max(most, memory(t, g))
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-ended
		return most
	}
}
