package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/headrace/headrace/tests/harness"
)

// newShipped starts the gateway with the file that ships, changed by pairs of
// old and new text, in front of a broken upstream and, perhaps, a good one.
func newShipped(t *testing.T, binary string, second bool, change ...string) *rig {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(harness.Root(t), "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			t.Fatalf("gateway.yaml does not say %q any more", change[i])
		}
		text = strings.ReplaceAll(text, change[i], change[i+1])
	}
	r := &rig{mode: solo, good: newOrigin(t, "good", nil), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 600, DisableCompression: true}}}
	r.bad = []*origin{newOrigin(t, "bad", nil), newOrigin(t, "worse", nil)}
	env := []string{"HEADRACE_UPSTREAM=" + r.bad[0].url(), "HEADRACE_UPSTREAM_KEY=" + canaryKey, "HEADRACE_KEYS=acme=" + canaryClient, "HEADRACE_TIMEOUT=1s"}
	if second {
		r.mode = backed
		env = append(env, "HEADRACE_UPSTREAM_2="+r.good.url())
	}
	r.hidden = []string{canaryKey, canaryClient, canaryBytes, hole.addr, r.bad[0].addr, r.good.addr}
	r.Gateway = harness.StartBinary(t, binary, write(t, text), env...)
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

// TestFailoverBench: the sixteen scenarios of that benchmark, with the file that
// ships and two upstreams. Waits are scaled down with HEADRACE_TIMEOUT.
func TestFailoverBench(t *testing.T) {
	t.Parallel()
	r := newShipped(t, harness.Binary(t), true, "cooldown: 10s", "cooldown: 1s")
	f := func(id, fault string, stream bool, want string, attempts int) {
		t.Helper()
		marker := r.marker()
		a := r.ask(fault, marker, stream)
		got := "lost"
		if a.refused == nil {
			got = r.judge(marker, stream, a)
		}
		if !r.allowed(task{"good", want, stream}, got) && !strings.HasPrefix(got, want) {
			t.Errorf("%s: came to %q, want %q: %v", id, got, want, a)
		}
		if n := r.bad[0].attempts(marker) + r.good.attempts(marker); n > attempts {
			t.Errorf("%s: %d attempts, at most %d are sensible", id, n, attempts)
		}
		if a.took > 8*time.Second {
			t.Errorf("%s: took %v", id, a.took)
		}
		r.check(t, task{"good", whole, stream}) // and the breaker stays closed
	}
	for _, stream := range []bool{false, true} {
		f("S01", "429-seconds", stream, whole, 2)
		f("S02", "429-seconds", stream, whole, 2)
		f("S03", "500-once", stream, whole, 2)
		f("S04", "503", stream, whole, 2)
		f("S05", "reset-before-head", stream, whole, 2)
		f("S06", "silence", stream, whole, 2)
		f("S12", "400-context", stream, "400 context_length_exceeded", 1)
		f("S13", "400-content", stream, "400 content_filter", 1)
		f("S16", "503", stream, whole, 2)
	}
	f("S07", "stream-stall-first", true, whole, 2)
	f("S08", "stream-fin-event", true, "broken upstream_cut", 2)
	f("S09", "stream-stall", true, "broken upstream_timeout", 2)
	f("S10", "stream-bad-event", true, "broken upstream_protocol", 2)
	f("S11", "stream-no-done", true, whole, 2)
	f("S14", "stream-reset-event", true, "broken upstream_cut", 2)
	// S15: an outage. All are answered, few of them ask the first upstream, and
	// it is asked again soon after it is well.
	asked := 0
	for range 20 {
		marker := r.marker()
		if a := r.ask("503", marker, false); r.judge(marker, false, a) != whole || a.header.Get("X-Headrace-Target") != "upstream_2" {
			t.Errorf("S15: %v", a)
		}
		asked += r.bad[0].attempts(marker)
	}
	if asked > 8 {
		t.Errorf("S15: the first upstream was asked for %d of 20 requests during its outage", asked)
	}
	harness.Until(t, "S15: the first upstream is used again", func() bool {
		marker := r.marker()
		r.ask("good", marker, false)
		return r.bad[0].attempts(marker) == 1
	})
}

// TestBreaker: failures open it, it answers at once while it is open, one
// probe at a time goes through, and it closes again.
func TestBreaker(t *testing.T) {
	t.Parallel()
	r := newShipped(t, harness.Binary(t), false, "cooldown: 10s", "cooldown: 1s")
	const limit, crowd = 5, 20
	var clients sync.WaitGroup
	var mu sync.Mutex
	reached, refused := 0, 0
	for range crowd {
		clients.Go(func() {
			for range 10 {
				marker := r.marker()
				a := r.ask("500", marker, false)
				code, problem := errorCode(a.body)
				mu.Lock()
				reached += r.bad[0].attempts(marker)
				if code == "circuit_open" {
					if refused++; a.status != 503 || a.header.Get("Retry-After") == "" || problem != "" {
						t.Errorf("an open breaker: %v", a)
					}
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if reached > limit+crowd || refused < 150 {
		t.Errorf("of %d requests %d reached the upstream and %d were refused", crowd*10, reached, refused)
	}
	began := time.Now()
	for good := false; !good; {
		marker := r.marker()
		good = r.judge(marker, false, r.ask("good", marker, false)) == whole
		if time.Since(began) > 5*time.Second {
			t.Fatal("the breaker does not close")
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%d of 200 failing requests reached the upstream; it was used again after %v", reached, time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the breaker closed only after %v", took)
	}
}

// TestIdle: what happens to a connection that nobody uses never reaches the
// next request.
func TestIdle(t *testing.T) {
	t.Parallel()
	r := newShipped(t, harness.Binary(t), false)
	for _, fault := range []string{"close-after", "unasked"} {
		for range 25 {
			r.ask(fault, r.marker(), false)
			time.Sleep(60 * time.Millisecond)
			r.check(t, task{"good", whole, false})
			if t.Failed() {
				t.Fatalf("after %s", fault)
			}
		}
	}
}

// TestStopWithCrowd: 500 streams are finished before the gateway ends.
func TestStopWithCrowd(t *testing.T) {
	r := newShipped(t, harness.Binary(t), false, `"${HEADRACE_TIMEOUT:-60s}"`, "60s")
	const crowd = 500
	var clients sync.WaitGroup
	got := make([]string, crowd)
	for i := range crowd {
		clients.Go(func() {
			marker := r.marker()
			a := r.ask("slow-all", marker, true)
			if got[i] = fmt.Sprint(a.refused); a.refused == nil {
				got[i] = r.judge(marker, true, a)
			}
		})
	}
	// Not that all are open at once: on a slow machine the first may be over by then.
	harness.Until(t, "all streams run", func() bool { return r.bad[0].arrived() >= crowd || len(r.Log()) > 1<<20 })
	r.Signal(t, syscall.SIGTERM)
	clients.Wait()
	ended := map[string]int{}
	for _, g := range got {
		ended[g]++
	}
	if ended[whole] != crowd {
		t.Errorf("of %d streams: %v", crowd, ended)
	}
	if err := r.Wait(t); err != nil {
		t.Errorf("ended with %v\n%.3000s", err, r.Log())
	}
}

// TestStopAfterManyReloads: a gateway that has been told to reload more often than it can
// is told once to stop, and does.
func TestStopAfterManyReloads(t *testing.T) {
	t.Parallel()
	r := newShipped(t, harness.Binary(t), false)
	for range 3 {
		// Of the same signal only one can be pending: each needs a moment.
		for range 200 {
			r.Signal(t, syscall.SIGHUP)
			time.Sleep(200 * time.Microsecond)
		}
	}
	r.Signal(t, syscall.SIGTERM)
	if err := r.Wait(t); err != nil {
		t.Error(err)
	}
}

// TestReloadUnderLoad: a hundred reloads, and no request notices.
func TestReloadUnderLoad(t *testing.T) {
	r := newShipped(t, harness.Binary(t), false)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					r.check(t, task{"good", whole, n%2 == 0})
				}
			}
		})
	}
	for range 100 {
		r.Signal(t, syscall.SIGHUP)
		time.Sleep(20 * time.Millisecond)
	}
	close(stop)
	clients.Wait()
	t.Logf("%d requests during 100 reloads, %d wrong", r.serial.Load(), r.faults)
}
