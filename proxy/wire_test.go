package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/tests/harness"
)

const testHead = 16 << 10

// pieces is a connection that brings its bytes n at a time.
type pieces struct {
	net.Conn
	raw []byte
	n   int
}

func (p *pieces) SetReadDeadline(time.Time) error { return nil }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.raw) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.raw[:min(p.n, len(p.raw))])
	p.raw = p.raw[n:]
	return n, nil
}

// follow reads all of raw through a connection that brings n bytes at a time,
// as the server and the stages do. It returns the violation, or what heads and
// bodies were read.
func follow(raw []byte, n int) (read string, err error) {
	c := &conn{Conn: &pieces{raw: raw, n: n}, listener: &listener{maxHead: testHead}}
	c.wire.maxHead = testHead
	var b strings.Builder
	buf := make([]byte, 512)
	for {
		n, err := c.Read(buf)
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return b.String(), err
		}
		b.Write(buf[:n])
		if !c.head || c.r < c.ok {
			continue
		}
		for {
			n, err := c.body(buf, nil)
			b.Write(buf[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				return b.String(), err
			}
		}
	}
}

// everyWay follows raw at once and in small pieces, which must make no
// difference.
func everyWay(t *testing.T, raw []byte) error {
	t.Helper()
	read, want := follow(raw, len(raw)+1)
	for _, n := range []int{1, 2, 3, 7, 64} {
		got, err := follow(raw, n)
		if fmt.Sprint(err) != fmt.Sprint(want) || want == nil && got != read {
			t.Errorf("in pieces of %d: %q, %v; at once: %q, %v", n, got, err, read, want)
		}
	}
	return want
}

// TestViolationsSayWhere needs a client to be told which header it is and what was in it,
// but never what may be a secret.
func TestViolationsSayWhere(t *testing.T) {
	f := func(line, says string) {
		t.Helper()
		err := everyWay(t, []byte("GET / HTTP/1.1\r\nHost: a\r\n"+line+"\r\n\r\n"))
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", line, err)
		}
	}
	f("Authorization: secret\x00", `the header "Authorization"`)
	f("X-Api-Key: sec\rret", `the header "X-Api-Key"`)
	f("Authorization : secret", `begins with "Authorization"`)
	f("authorization: secret\r\nAuthorization: secret", `occurs twice; it is "authorization"`)
	f("Content-Length: 1e3", `got "1e3"`)
	f("Transfer-Encoding: gzip", `got "gzip"`)
	f("Expect: more", `got "more"`)
	f("Upgrade: websocket", `got "websocket"`)
	f("Content-Length: "+strings.Repeat("x", 999), `got "`+strings.Repeat("x", 60)+`"`)
}

// TestBodiesAreTakenOut needs the server to see heads without framing, and the
// stages to see bodies without it.
func TestBodiesAreTakenOut(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		if everyWay(t, []byte(raw)) != nil {
			t.Fatalf("refused: %q", raw)
		}
		if got, _ := follow([]byte(raw), 1<<20); got != want {
			t.Errorf("read %q, want %q", got, want)
		}
	}
	f("\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\nHost: a\r\nX: y\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n")
	f("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n")
}

func TestWire(t *testing.T) {
	f := func(raw string, want error) {
		t.Helper()
		if got := everyWay(t, []byte(raw)); !errors.Is(got, want) {
			t.Errorf("got %v, want %v, of %q", got, want, raw)
		}
	}
	const host = "Host: a\r\n"
	f("GET / HTTP/1.1\r\n"+host+"\r\n", nil)
	f("\r\nGET / HTTP/1.1\r\n"+host+"\r\n", nil)
	f("\r\n\r\n\r\nGET / HTTP/1.1\r\n"+host+"\r\n", errBlank)
	f("GET / HTTP/1.0\r\n\r\n", nil)
	f("GET / HTTP/1.1\r\n\r\n", errHost)
	f("GET / HTTP/1.1\r\n"+host+host+"\r\n", errDuplicate)
	f("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", errHost)
	f("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", errHost)
	for _, host := range []string{
		"a%", "a%4", "a%zz", "a%41", "%00", // RFC 3986 has only UTF-8 escaped there
		"[::1", "[]", "[:1]", "[0:1]", "[1::2::3]", "[12345::]", "[1.2.3.4]", "[::1.2.3]", "[::1%25en0]", "[::1%en0]", "[::1]x", "[::1]:x",
	} {
		f("GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n", errHost)
	}
	f("GET / HTTP/1.1\r\nHost: b%C3%bccher.example:80\r\n\r\n", nil)
	f("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", nil)
	f("GET / HTTP/1.1\r\nHost: [2001:DB8::ffff:1.2.3.4]\r\n\r\n", nil)
	f("GET / HTTP/1.1\r\nHost:\r\n\r\n", errHost)
	f("GET / HTTP/1.1\n"+host+"\r\n", errBareLF)
	f("GET / HTTP/1.1\r\n"+host+"\n", errBareLF)
	f("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", errBareCR)
	f("GET  / HTTP/1.1\r\n"+host+"\r\n", errRequestLine)
	f("GET / HTTP/1.1 \r\n"+host+"\r\n", errRequestLine)
	f("GET /\r\n"+host+"\r\n", errRequestLine)
	f("get / HTTP/1.1\r\n"+host+"\r\n", errMethod)
	f("G\x00T / HTTP/1.1\r\n"+host+"\r\n", errRequestLine)
	f("GET /a\tb HTTP/1.1\r\n"+host+"\r\n", errTarget)
	f("GET /\xff HTTP/1.1\r\n"+host+"\r\n", errTarget)
	f("GET /#x HTTP/1.1\r\n"+host+"\r\n", errTarget)
	f("GET /?a#x HTTP/1.1\r\n"+host+"\r\n", errTarget)
	f("GET /?a=\" HTTP/1.1\r\n"+host+"\r\n", errTarget)
	f("GET /a<b HTTP/1.1\r\n"+host+"\r\n", errTarget)
	f("GET /a\\b HTTP/1.1\r\n"+host+"\r\n", errTarget)
	f("GET /a|b^c?d={e}|^`\\[]' HTTP/1.1\r\n"+host+"\r\n", nil) // as fetch sends it
	f("GET a HTTP/1.1\r\n"+host+"\r\n", errRequestLine)
	f("GET http://a/b HTTP/1.1\r\n"+host+"\r\n", nil)
	f("GET http://u:p@a/b HTTP/1.1\r\n"+host+"\r\n", nil)
	f("GET https://[::1]:1?b HTTP/1.1\r\n"+host+"\r\n", nil)
	for _, authority := range []string{"", "u@", ":80", "a:b", "[::1", "a:1:2", "u@a@b", "a%41"} {
		f("GET http://"+authority+"/b HTTP/1.1\r\n"+host+"\r\n", errRequestLine)
		f("GET http://"+authority+"?b HTTP/1.1\r\n"+host+"\r\n", errRequestLine)
	}
	f("GET ftp://a/b HTTP/1.1\r\n"+host+"\r\n", errRequestLine)
	f("OPTIONS * HTTP/1.1\r\n"+host+"\r\n", nil)
	f("GET * HTTP/1.1\r\n"+host+"\r\n", errRequestLine)
	f("CONNECT a:443 HTTP/1.1\r\n"+host+"\r\n", errMethod)
	f("GET / HTTP/1.2\r\n"+host+"\r\n", errVersion)
	f("GET / HTTP/2.0\r\n"+host+"\r\n", errVersion)
	f("GET / http/1.1\r\n"+host+"\r\n", errRequestLine)
	f("GET / HTTP/1.1\r\n"+host+"A : b\r\n\r\n", errName)
	f("GET / HTTP/1.1\r\n"+host+"A b: c\r\n\r\n", errName)
	f("GET / HTTP/1.1\r\n"+host+": c\r\n\r\n", errName)
	f("GET / HTTP/1.1\r\n"+host+"A\r\n\r\n", errName)
	f("GET / HTTP/1.1\r\n"+host+"A: b\r\n c\r\n\r\n", errFold)
	f("GET / HTTP/1.1\r\n"+host+"A: b\x00\r\n\r\n", errValue)
	f("GET / HTTP/1.1\r\n"+host+"A: b\x7f\r\n\r\n", errValue)
	f("GET / HTTP/1.1\r\n"+host+"A: \tb\xff\t\r\n\r\n", nil)
	f("GET / HTTP/1.1\r\n"+host+"Authorization: a\r\nauthorization: b\r\n\r\n", errDuplicate)
	f("GET / HTTP/1.1\r\n"+host+"Upgrade: websocket\r\n\r\n", errUpgrade)
	f("GET / HTTP/1.0\r\n"+host+"Upgrade: websocket\r\n\r\n", nil)
	f("GET / HTTP/1.1\r\n"+host+"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", nil)
	for _, v := range []string{"", "100-continue", "100-Continue", "100-continue, 100-continue"} {
		f("GET / HTTP/1.1\r\n"+host+"Expect: "+v+"\r\n\r\n", nil)
	}
	for _, v := range []string{"101-continue", "100-continue, a", "a=b", "100-continue;a"} {
		f("GET / HTTP/1.1\r\n"+host+"Expect: "+v+"\r\n\r\n", errExpect)
	}
	f("GET / HTTP/1.0\r\n"+host+"Expect: a\r\n\r\n", nil)
	f("GET / HTTP/1.1\r\n"+host+"Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", nil) // a list
	f("GET / HTTP/1.1\r\n"+host+"Expect: 100-continue\r\nExpect: a\r\n\r\n", errExpect)
	f("GET / HTTP/1.1\r\n"+host+"A: "+strings.Repeat("b", testHead)+"\r\n\r\n", errHead)
	f("GET /"+strings.Repeat("b", testHead)+" HTTP/1.1\r\n"+host+"\r\n", errLong)
	f("GET /"+strings.Repeat("b", 3*testHead), errLong)
	f("GET / HTTP/1.1\r\nA: "+strings.Repeat("b", 3*testHead), errHead)
	f("GET / HTTP/1.1\r\n"+host+strings.Repeat("A: b\r\n", maxFields)+"\r\n", errFields)

	post := "POST / HTTP/1.1\r\n" + host
	f(post+"Content-Length: 3\r\n\r\nabc", nil)
	f(post+"Content-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n"+host+"\r\n", nil)
	f(post+"Content-Length: 3\r\n\r\nab", errCut)
	f(post+"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", errDuplicate)
	for _, v := range []string{"", "+3", "-3", "0x3", "3, 3", "3 3", "3.0", strings.Repeat("9", 19)} {
		f(post+"Content-Length: "+v+"\r\n\r\nabc", errLength)
	}
	f(post+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", errFraming)
	f(post+"Transfer-Encoding: identity\r\n\r\n", errCoding)
	f(post+"Transfer-Encoding: xchunked\r\n\r\n", errCoding)
	f(post+"Transfer-Encoding: chunked, chunked\r\n\r\n", errCoding)
	f(post+"Transfer-Encoding: chunked, identity\r\n\r\n", errCoding)
	f(post+"Transfer-Encoding: gzip, chunked\r\n\r\n", errCodings)
	f(post+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", errDuplicate)
	f("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", errOldCoding)

	chunked := post + "Transfer-Encoding: Chunked\r\n\r\n"
	f(chunked+"3\r\nabc\r\n00\r\n\r\n", nil)
	f(chunked+"A;a;b=c;d=\"e\\\"f\"\r\n0123456789\r\n0;x\r\nX-Sum: 1\r\n\r\n", nil)
	f(chunked+"3\r\nabc\r\n", errCut)
	f(chunked+"3\r\nabc\r\n0\r\n", errCut)
	f(chunked+"3\r\nabcd\r\n0\r\n\r\n", errChunk)
	f(chunked+"3\nabc\r\n0\r\n\r\n", errChunk)
	for _, v := range []string{"", "g", "3 ", " 3", "0x3", "+3", "-3", "3;", "3; ", "3;=b", "3;a=", "3;a=\"b", "3;a b", "3;a ", "3;a=b ", "3;a=b c", "3,", strings.Repeat("f", 16)} {
		f(chunked+v+"\r\nabc\r\n0\r\n\r\n", errChunk)
	}
	f(chunked+"0\r\nContent-Length: 3\r\n\r\n", errTrailer)
	f(chunked+"0\r\nA : 3\r\n\r\n", errName)
	f(chunked+"0\r\n"+strings.Repeat("A: b\r\n", testHead/5)+"\r\n", errHead)
	f(chunked+"3 ;a\r\nabc\r\n0\t ; b\r\n\r\n", nil)
	f(chunked+"3 a\r\nabc\r\n0\r\n\r\n", errChunk)
	f(chunked+"3; a ; b = c\r\nabc\r\n0\r\nContent-Type: a\r\n\r\n", nil)
	f(chunked+"3;a=b ;c\t;d=\"e\\\t\" \t;f\r\nabc\r\n0;a=b ;c\r\n\r\n", nil)
}

func BenchmarkConn(b *testing.B) {
	raw := []byte("POST /v1/chat/completions HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer sk-0123456789abcdef0123456789abcdef\r\n" +
		"Content-Type: application/json\r\nUser-Agent: OpenAI/Python 1.54.0\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\n" +
		"X-Stainless-Lang: python\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000))
	from := &pieces{n: len(raw)}
	c := &conn{Conn: from, listener: &listener{maxHead: testHead}}
	c.wire.maxHead = testHead
	buf := make([]byte, 4096)
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		from.raw = raw
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := c.body(buf, nil); err != io.EOF {
			b.Fatal(err)
		}
	}
}

var escapes = regexp.MustCompile(`\\(r|n|t|0|\\|x[0-9a-fA-F]{2})`)

// rawRequest reads a case of the gunicorn corpus: real newlines are layout, the
// written escapes are the bytes.
func rawRequest(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.ReplaceAll(data, []byte("\n"), nil)
	return escapes.ReplaceAllFunc(data, func(e []byte) []byte {
		switch e[1] {
		case 'r':
			return []byte("\r")
		case 'n':
			return []byte("\n")
		case 't':
			return []byte("\t")
		case '0':
			return []byte{0}
		case '\\':
			return []byte(`\`)
		}
		n, _ := strconv.ParseUint(string(e[2:]), 16, 8)
		return []byte{byte(n)}
	})
}

// withHost adds the Host that most of the corpus leaves out.
func withHost(raw []byte) []byte {
	if bytes.Contains(bytes.ToLower(raw), []byte("\nhost:")) || !bytes.Contains(raw, []byte("HTTP/1.1\r\n")) {
		return raw
	}
	return bytes.ReplaceAll(raw, []byte("HTTP/1.1\r\n"), []byte("HTTP/1.1\r\nHost: a.example\r\n"))
}

// TestCorpusInvalid needs every malformed request to be refused or cut, also
// when what is missing is only a Host.
func TestCorpusInvalid(t *testing.T) {
	dir := harness.Data(t, "http/gunicorn-requests")
	// What these break is a setting of the server they were written for, such as
	// a limit, a proxy protocol, or a rule about names.
	depends := map[string]bool{
		"006": true, "007": true, "008": true, "010": true, "011": true, "012": true, "013": true, "017": true,
		"019": true, "040": true, "chunked_07": true, "limit_header_default_01": true,
	}
	files, _ := filepath.Glob(filepath.Join(dir, "invalid", "*.http"))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".http")
		if depends[name] {
			continue
		}
		raw := rawRequest(t, file)
		for _, raw := range [][]byte{raw, withHost(raw)} {
			if err := everyWay(t, raw); err == nil {
				t.Errorf("%s is let through: %q", name, raw[:min(len(raw), 300)])
			}
		}
	}
	if len(files) < 50 {
		t.Errorf("only %d cases found", len(files))
	}
}

// TestCorpusValid needs every request that we mean to serve to pass.
func TestCorpusValid(t *testing.T) {
	dir := harness.Data(t, "http/gunicorn-requests")
	// Refused here on purpose, and why.
	refused := map[string]string{
		"005": "a fragment in the target", "009": "a fragment in the target; TE beside CL",
		"014": "quotes in the target", "027": "a target that is not ASCII",
		"020": "the example relies on HTTP/1.0 closing after the first request",
		"024": "a request line of 8 KB beside a header of 8 KB: a setting", "099": "ends within its body",
		"025": "gzip as transfer coding", "025_line": "gzip as transfer coding", "rfc9112_smuggle_gzip_chunked_01": "gzip as transfer coding",
		"028": "a space before the colon", "029": "two Transfer-Encoding", "030": "two Transfer-Encoding",
		"rfc9112_smuggle_te_identity_chunked_01": "identity as transfer coding",
		"031compat":                              "a method in lower case", "031compat2": "a method in lower case",
		"compat_obs_fold": "folded lines", "compat_obs_fold_huge": "folded lines",
		"pp_01": "the PROXY protocol", "pp_02": "the PROXY protocol", "pp_04": "the PROXY protocol", "pp_05": "the PROXY protocol",
		"rfc9112_target_authority_connect_01": "CONNECT", "rfc9112_target_authority_ipv6_01": "CONNECT",
	}
	files, _ := filepath.Glob(filepath.Join(dir, "valid", "*.http"))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".http")
		raw := withHost(rawRequest(t, file))
		err := everyWay(t, raw)
		if _, ok := refused[name]; ok != (err != nil) {
			t.Errorf("%s: %v: %q", name, err, raw[:min(len(raw), 300)])
		}
	}
}
