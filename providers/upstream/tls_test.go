package upstream

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// certificate makes a server's TLS setup, good for name until then, and that
// of a client who trusts it.
func certificate(t testing.TB, name string, until time.Time) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: until.Add(-2 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

func TestTLSFailures(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		f := func(name string, until time.Time, change func(client *tls.Config), want string) {
			t.Helper()
			server, client := certificate(t, name, until)
			change(client)
			address := serve(t, overTLS(server, always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
			var told []string
			c := newClient(t, Options{
				Address: address, TLS: client, HTTP2: http2,
				Unreached: func(reason error) { told = append(told, reason.Error()) },
			})
			_, err := fetch(c, newExchange(t, "POST", "{}"))
			if (err == nil) != (len(told) == 0) || err != nil && !strings.Contains(told[0], "x509") {
				t.Errorf("%s until %v: whoever runs the gateway is told %q", name, until, told)
			}
			if code(err) != want || err != nil && (strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "x509")) {
				t.Errorf("%s until %v: %v, want %q", name, until, err, want)
			}
			if err != nil {
				settle(t, "connections to be closed", func() bool { open, _ := c.Counts(); return open == 0 })
			}
		}
		same, later := func(*tls.Config) {}, time.Now().Add(time.Hour)
		f("127.0.0.1", later, same, "")
		f("127.0.0.1", time.Now().Add(-time.Minute), same, "upstream_tls")
		f("other.test", later, same, "upstream_tls")
		f("127.0.0.1", later, func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, "upstream_tls")
		f("127.0.0.1", later, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12; c.MinVersion = tls.VersionTLS12 }, "")
		f("127.0.0.1", later, func(c *tls.Config) { c.ServerName = "else.test" }, "upstream_tls")
	})
}

// A server that speaks no TLS, or says nothing at all, is no TLS upstream.
func TestNoTLS(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, http2 bool) {
		f := func(script func(net.Conn), want string) {
			t.Helper()
			c := newClient(t, Options{Address: serve(t, script), TLS: &tls.Config{}, HTTP2: http2, Connect: 200 * time.Millisecond})
			began := time.Now()
			if _, err := fetch(c, newExchange(t, "POST", "{}")); code(err) != want || time.Since(began) > 5*time.Second {
				t.Errorf("got %v after %v, want %s", err, time.Since(began), want)
			}
		}
		f(func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, "upstream_tls")
		f(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "upstream_timeout")
	})
}

// Over TLS a body that ends with the connection is whole only if the upstream
// has said that it closes; anybody on the way can close TCP.
func TestOpenBodyOverTLS(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		server, client := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
		f := func(farewell bool, want string) {
			t.Helper()
			address := serve(t, func(c net.Conn) {
				s := tls.Server(c, server)
				_ = readRequest(bufio.NewReader(s))
				_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\n\r\nhello")
				if farewell {
					_ = s.Close()
				}
			})
			c := newClient(t, Options{Address: address, TLS: client, HTTP2: http2})
			if body, err := fetch(c, newExchange(t, "POST", "{}")); body != "hello" || code(err) != want {
				t.Errorf("farewell %v: got %q, %v", farewell, body, err)
			}
		}
		f(true, "")
		f(false, "upstream_cut")
	})
}

// Wherever a framed body is cut, it is not whole.
func TestCutEverywhere(t *testing.T) {
	plainAndTLS(t, func(t *testing.T, server, client *tls.Config) {
		both(t, func(t *testing.T, http2 bool) {
			t.Parallel()
			for _, answer := range []string{
				"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
				"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\nA: b\r\n\r\n",
			} {
				for n := range len(answer) + 1 {
					address := serve(t, overTLS(server, func(c net.Conn) {
						_ = readRequest(bufio.NewReader(c))
						_, _ = io.WriteString(c, answer[:n])
					}))
					c := newClient(t, Options{Address: address, TLS: client, HTTP2: http2})
					body, err := fetch(c, newExchange(t, "POST", "{}"))
					// To net/http half a line is a malformed one.
					known := err == nil || code(err) == "upstream_cut" || http2 && code(err) == "upstream_protocol"
					if !strings.HasPrefix("hello", body) || (err == nil) != (n == len(answer)) || !known {
						t.Errorf("%q: got %q, %v", answer[:n], body, err)
					}
					_ = c.Close()
				}
			}
		})
	})
}

// serveHTTP2 serves HTTP/2 over TLS, and returns what a client needs.
func serveHTTP2(t testing.TB, handle http.HandlerFunc) (address string, client *tls.Config) {
	t.Helper()
	server, client := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	s := httptest.NewUnstartedServer(handle)
	s.EnableHTTP2 = true
	s.TLS = server
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), client
}
