package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A made request is one from the grammar, with what a provider must see of it.
type made struct {
	line    string
	headers []string
	body    string // as sent: framed
	plain   string // as meant
	framing string
}

func (m made) String() string {
	return m.line + "\r\n" + strings.Join(append(m.headers, m.framing), "\r\n") + "\r\n\r\n" + m.body
}

// makeRequest draws a valid request from r.
func makeRequest(r *rand.Rand) made {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	m := made{plain: strings.Replace(plainBody, "hi", strings.Repeat(pick("x", "é", `\n`, "\u6c34"), r.IntN(400)), 1)}
	m.line = "POST " + pick("/v1/chat/completions", "/chat/completions", "/v1/embeddings?a=b%20c&d", "http://h.example/v1/chat/completions") + " HTTP/1.1"
	m.headers = []string{pick("Host: a", "HOST:b.example:80", "hOsT: \t[::1]:8080 \t", "Host: 127.0.0.1")}
	optional := []string{
		"Content-Type: application/json", "content-type:application/json; charset=utf-8", "User-Agent: x/1 (y; z)", "Accept: */*",
		"Authorization: Bearer sk-\x80\xff", "X-Empty:", "X-!#$%&'*+-.^_`|~: v", "Accept-Encoding: gzip, br", "Connection: keep-alive",
		"Connection: X-Secret", "X-Dup: 1\r\nX-Dup: 2", "Cookie: a=b; c=\"d\"", "TE: trailers", "Expect: 100-continue", "Upgrade: h2c",
		"Forwarded: for=1.2.3.4", "X-Long: " + strings.Repeat("y", r.IntN(3000)), "traceparent: 00-1-2-01",
	}
	r.Shuffle(len(optional), func(i, j int) { optional[i], optional[j] = optional[j], optional[i] })
	seen := map[string]bool{}
	for _, h := range optional[:r.IntN(8)] {
		name := strings.ToLower(h[:strings.IndexByte(h, ':')])
		if name != "content-type" || !seen[name] {
			m.headers = append(m.headers, h)
		}
		seen[name] = true
	}
	r.Shuffle(len(m.headers), func(i, j int) { m.headers[i], m.headers[j] = m.headers[j], m.headers[i] })
	if r.IntN(2) == 0 {
		m.framing, m.body = fmt.Sprintf("Content-Length: %s%d", pick("", "0", "00"), len(m.plain)), m.plain
		return m
	}
	m.framing = pick("Transfer-Encoding: chunked", "transfer-encoding:CHUNKED ")
	for rest := m.plain; rest != ""; {
		n := 1 + r.IntN(min(len(rest), 200))
		m.body += fmt.Sprintf("%s%x%s\r\n%s\r\n", pick("", "0", "000"), n, pick("", ";a", ";a=b", `;a="b;\"c"`, "; a"), rest[:n])
		rest = rest[n:]
	}
	m.body += pick("0", "000") + "\r\n" + pick("", "X-Sum: 1\r\n", "A: b\r\nC: d\r\n") + "\r\n"
	return m
}

// flaws turn a valid request into one that must be refused. Each reports
// whether it applies.
var flaws = map[string]func(*made) bool{
	"no host":              func(m *made) bool { return drop(m, "host:") },
	"two hosts":            func(m *made) bool { m.headers = append(m.headers, "Host: a"); return true },
	"host with user":       func(m *made) bool { drop(m, "host:"); m.headers = append(m.headers, "Host: u@a"); return true },
	"host with path":       func(m *made) bool { drop(m, "host:"); m.headers = append(m.headers, "Host: a/b"); return true },
	"version 1.2":          func(m *made) bool { return swap(&m.line, "HTTP/1.1", "HTTP/1.2") },
	"version 2.0":          func(m *made) bool { return swap(&m.line, "HTTP/1.1", "HTTP/2.0") },
	"version 0.9":          func(m *made) bool { return swap(&m.line, "HTTP/1.1", "HTTP/0.9") },
	"version in lowercase": func(m *made) bool { return swap(&m.line, "HTTP/1.1", "http/1.1") },
	"no version":           func(m *made) bool { return swap(&m.line, " HTTP/1.1", "") },
	"two spaces":           func(m *made) bool { return swap(&m.line, "POST ", "POST  ") },
	"a tab":                func(m *made) bool { return swap(&m.line, "POST ", "POST\t") },
	"trailing space":       func(m *made) bool { return swap(&m.line, "HTTP/1.1", "HTTP/1.1 ") },
	"lowercase method":     func(m *made) bool { return swap(&m.line, "POST", "post") },
	"method with colon":    func(m *made) bool { return swap(&m.line, "POST", "PO:ST") },
	"space in target":      func(m *made) bool { return swap(&m.line, "/v1", "/v 1") },
	"raw utf-8 in target":  func(m *made) bool { return swap(&m.line, "chat", "chât") },
	"fragment":             func(m *made) bool { return swap(&m.line, " HTTP", "#a HTTP") },
	"nul in target":        func(m *made) bool { return swap(&m.line, "/v1", "/v\x00") },
	"relative target":      func(m *made) bool { return swap(&m.line, " /", " ") },
	"bare lf":              func(m *made) bool { m.headers = append(m.headers, "A: b\nC: d"); return true },
	"bare lf first":        func(m *made) bool { m.line += "\nA: b"; return true },
	"bare cr":              func(m *made) bool { m.headers = append(m.headers, "A: b\rC: d"); return true },
	"fold":                 func(m *made) bool { m.headers = append(m.headers, "A: b\r\n c"); return true },
	"fold first":           func(m *made) bool { m.headers = append([]string{" A: b"}, m.headers...); return true },
	"space before colon":   func(m *made) bool { m.headers = append(m.headers, "A : b"); return true },
	"space in name":        func(m *made) bool { m.headers = append(m.headers, "A b: c"); return true },
	"no colon":             func(m *made) bool { m.headers = append(m.headers, "Abc"); return true },
	"empty name":           func(m *made) bool { m.headers = append(m.headers, ": c"); return true },
	"utf-8 in name":        func(m *made) bool { m.headers = append(m.headers, "Ä: c"); return true },
	"nul in value":         func(m *made) bool { m.headers = append(m.headers, "A: b\x00c"); return true },
	"del in value":         func(m *made) bool { m.headers = append(m.headers, "A: b\x7fc"); return true },
	"escape in value":      func(m *made) bool { m.headers = append(m.headers, "A: b\x1bc"); return true },
	"websocket": func(m *made) bool {
		drop(m, "upgrade:")
		m.headers = append(m.headers, "Upgrade: websocket")
		return true
	},
	"two authorizations": func(m *made) bool { m.headers = append(m.headers, "Authorization: a", "authorization: b"); return true },
	"two content types":  func(m *made) bool { m.headers = append(m.headers, "Content-Type: a", "content-type: b"); return true },
	"too many headers":   func(m *made) bool { m.headers = append(m.headers, strings.Repeat("A: b\r\n", 101)+"C: d"); return true },
	"too large":          func(m *made) bool { m.headers = append(m.headers, "A: "+strings.Repeat("b", testHead)); return true },
	"length and coding": func(m *made) bool {
		m.headers = append(m.headers, "Content-Length: 3", "Transfer-Encoding: chunked")
		return true
	},
	"two lengths": func(m *made) bool {
		m.headers = append(m.headers, "Content-Length: 5", "Content-Length: 5")
		return true
	},
	"identity":           func(m *made) bool { m.framing = "Transfer-Encoding: identity"; return true },
	"gzip, chunked":      func(m *made) bool { m.framing = "Transfer-Encoding: gzip, chunked"; return true },
	"chunked twice":      func(m *made) bool { m.framing = "Transfer-Encoding: chunked, chunked"; return true },
	"coding with a tab":  func(m *made) bool { m.framing = "Transfer-Encoding: chun\tked"; return true },
	"signed length":      func(m *made) bool { m.framing = "Content-Length: +5"; return true },
	"hex length":         func(m *made) bool { m.framing = "Content-Length: 0x5"; return true },
	"list of lengths":    func(m *made) bool { m.framing = "Content-Length: 5, 5"; return true },
	"huge length":        func(m *made) bool { m.framing = "Content-Length: 99999999999999999999"; return true },
	"chunk size with 0x": func(m *made) bool { return chunked(m) && swapBody(m, "0x") },
	"chunk size signed":  func(m *made) bool { return chunked(m) && swapBody(m, "+") },
	"chunk size with _":  func(m *made) bool { return chunked(m) && swapBody(m, "_") },
	"chunk with space":   func(m *made) bool { return chunked(m) && swapBody(m, " ") },
	"chunk with lf":      func(m *made) bool { return chunked(m) && swap(&m.body, "\r\n", "\n") },
	"huge chunk":         func(m *made) bool { return chunked(m) && swapBody(m, "fffffffffffffffff") },
	"chunk without end":  func(m *made) bool { return chunked(m) && swap(&m.body, "\r\n0", "0") },
	"framing in trailer": func(m *made) bool { return chunked(m) && swapLast(m, "Content-Length: 3\r\n") },
	"bad trailer":        func(m *made) bool { return chunked(m) && swapLast(m, "A : 3\r\n") },
}

func drop(m *made, name string) bool {
	for i, h := range m.headers {
		if strings.HasPrefix(strings.ToLower(h), name) {
			m.headers = append(m.headers[:i:i], m.headers[i+1:]...)
			return true
		}
	}
	return false
}

func swap(s *string, old, with string) bool {
	before := *s
	*s = strings.Replace(before, old, with, 1)
	return *s != before
}

func chunked(m *made) bool { return strings.HasPrefix(strings.ToLower(m.framing), "transfer") }

func swapBody(m *made, before string) bool { m.body = before + m.body; return true }

func swapLast(m *made, trailer string) bool {
	m.body = strings.TrimSuffix(m.body, "\r\n") + trailer + "\r\n"
	return true
}

// TestManyRequests sends thousands of drawn requests over a few connections,
// cut into pieces at random: every valid one reaches the provider with the very
// body that was meant, and no flawed one reaches it.
func TestManyRequests(t *testing.T) {
	var called atomic.Int64
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		called.Add(1)
		ex.Response.Header.SetStatusCode(200)
		ex.Response.Header.SetContentType("application/json")
		ex.Response.SetBody(bytes.Clone(ex.Request.Body))
		return nil
	})
	rng := rand.New(rand.NewPCG(1, 2))
	c := r.dial()
	br := bufio.NewReader(c)
	const n = 3000
	for i := range n {
		m := makeRequest(rng)
		raw := m.String()
		for cut := raw; cut != ""; {
			k := len(cut)
			if rng.IntN(4) == 0 {
				k = 1 + rng.IntN(len(cut))
			}
			if _, err := io.WriteString(c, cut[:k]); err != nil {
				t.Fatal(err)
			}
			cut = cut[k:]
		}
		resp, body, err := readAnswer(br)
		for err == nil && resp.StatusCode == 100 {
			resp, body, err = readAnswer(br)
		}
		if err != nil || resp.StatusCode != http.StatusOK || body != m.plain {
			t.Fatalf("request %d %q: %v %q %v", i, raw, resp, body, err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	if called.Load() != n {
		t.Fatalf("%d of %d valid requests reached the provider", called.Load(), n)
	}
	called.Store(0)
	refused := 0
	for name, flaw := range flaws {
		for range 20 {
			m := makeRequest(rng)
			if !flaw(&m) {
				continue
			}
			c := r.dial()
			go func() {
				_, _ = io.WriteString(c, m.String())
				_ = c.(interface{ CloseWrite() error }).CloseWrite()
			}()
			br := bufio.NewReader(c)
			resp, body, err := readAnswer(br)
			for err == nil && resp.StatusCode == 100 {
				resp, body, err = readAnswer(br)
			}
			if err == nil && (resp.StatusCode < 400 || !strings.HasPrefix(body, `{"error":{"message":`) || !resp.Close) {
				t.Errorf("%s: %q: %d %q close %v", name, m.String()[:min(len(m.String()), 400)], resp.StatusCode, body, resp.Close)
			}
			_ = c.Close()
			if err == nil {
				refused++
			}
			if called.Swap(0) != 0 {
				t.Errorf("%s: %q reached the provider", name, m.String()[:min(len(m.String()), 400)])
			}
		}
	}
	if refused < 800 {
		t.Errorf("only %d flawed requests were answered", refused)
	}
}
