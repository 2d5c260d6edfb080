package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stub"
)

// TestManyClients: clients of every kind at once, some of which leave early.
// Each gets its own answer, whole or not at all, and nothing of them is left.
func TestManyClients(t *testing.T) {
	up := stub.Start()
	defer up.Close()
	g := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+up.URL)
	chat(t, g, "echo", unique()) // what is made on first use is made
	before := files(t, g.PID())

	const crowd, each = 30, 15
	var clients sync.WaitGroup
	for n := range crowd {
		clients.Go(func() {
			for i := range each {
				one(t, g, rand.New(rand.NewPCG(uint64(n), uint64(i))))
			}
		})
	}
	clients.Wait()
	http.DefaultClient.CloseIdleConnections()
	harness.Until(t, "no request is in work", func() bool { return metric(t, g, "headrace_requests_in_flight") == "0" })
	http.DefaultClient.CloseIdleConnections()
	// A connection to the upstream may be kept for each request that ran at
	// the same time. Half of all requests were left or broken: if each cost
	// but one connection, there would be hundreds.
	harness.Until(t, "connections are closed", func() bool { return files(t, g.PID()) <= before+crowd+10 })
}

// one is one client: it asks for something of its own and checks the answer.
func one(t *testing.T, g *harness.Gateway, r *rand.Rand) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	text := unique() + strings.Repeat(" padding", r.IntN(300))
	model, stream := []string{"echo", "echo", "echo", "cut", "hang", "drip", "in-stream"}[r.IntN(7)], r.IntN(2) == 0
	leaves := model == "hang" || model == "drip" || r.IntN(5) == 0
	if leaves {
		time.AfterFunc(time.Duration(r.IntN(100))*time.Millisecond, leave)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+"/chat/completions", strings.NewReader(question(model, text, stream)))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if !leaves {
			t.Errorf("%s: %v", model, err)
		}
		return
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	switch got := string(b); {
	case ctx.Err() != nil:
	case model == "cut" || model == "in-stream" && stream:
		if strings.Contains(got, "[DONE]") || resp.StatusCode == 200 && err == nil && !strings.Contains(got, `"error"`) {
			t.Errorf("%s, stream %t: a broken answer looks whole: %d %s", model, stream, resp.StatusCode, got)
		}
	case err != nil || resp.StatusCode != 200:
		// The broken answers of others may have opened the breaker.
		if resp.StatusCode != 503 || !strings.Contains(got, "circuit_open") {
			t.Errorf("%s, stream %t: %v, %d %s", model, stream, err, resp.StatusCode, got)
		}
	case stream && !strings.HasSuffix(got, "data: [DONE]\n\n"), said(got) != text && !strings.Contains(got, `"`+text+`"`):
		t.Errorf("%s, stream %t: not the answer to %.60s: %.2000s", model, stream, text, got)
	}
}

// said joins the text of a stream's chunks, as the scripted upstream writes them.
func said(stream string) string {
	var all strings.Builder
	for lines := bufio.NewScanner(strings.NewReader(stream)); lines.Scan(); {
		_, rest, ok := strings.Cut(lines.Text(), `"content":"`)
		if ok {
			word, _, _ := strings.Cut(rest, `"`)
			all.WriteString(word)
		}
	}
	return all.String()
}

// files is how many files and connections the process has open.
func files(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Skipf("this system does not tell what a process has open: %v", err)
	}
	return len(entries)
}

// metric is the value of a metric without labels.
func metric(t *testing.T, g *harness.Gateway, name string) string {
	t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(send(t, g.Admin+"/metrics", "").body)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			if f, err := strconv.ParseFloat(value, 64); err == nil {
				return strconv.FormatFloat(f, 'f', -1, 64)
			}
		}
	}
	t.Fatalf("there is no metric %s", name)
	return ""
}
