// Package faults breaks everything around the real binary: upstreams that lie,
// stall and leave, clients that do, and operators in the middle of it. What it
// looks for is the same each time: a client gets its own answer, whole, or is
// told that it did not; nothing is left behind; nothing is given away.
//
// HEADRACE_FAULTS=full asks many more times.
package faults

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// repeats is how often each fault is asked for, in each form and mode.
func repeats() int {
	if full {
		return 24
	}
	return 2
}

const crowd = 40

// TestMatrix: every kind of fault, for answers in one piece and streams, with
// one upstream, a good second one and two bad ones; many at a time, each with
// a text of its own.
func TestMatrix(t *testing.T) {
	for _, mode := range []string{solo, backed, double} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode)
			r.matrix(t)
		})
	}
}

type task struct {
	fault, want string
	stream      bool
}

func (r *rig) tasks() []task {
	var all []task
	for name, k := range kinds {
		for range repeats() {
			if k.json != "" {
				all = append(all, task{name, k.json, false})
			}
			if k.sse != "" {
				all = append(all, task{name, k.sse, true})
			}
		}
	}
	for range len(all) / 8 {
		all = append(all, task{"good", whole, rand.IntN(2) == 0})
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func (r *rig) matrix(t *testing.T) {
	r.check(t, task{"good", whole, false})
	r.check(t, task{"good", whole, true})
	r.settle(t)
	routines, open := goroutines(t, r.Gateway), files(t, r.Gateway)
	most := peak(t, r.Gateway)

	work := make(chan task)
	var clients sync.WaitGroup
	for range crowd {
		clients.Go(func() {
			for k := range work {
				r.check(t, k)
			}
		})
	}
	all := r.tasks()
	began := time.Now()
	for _, k := range all {
		work <- k
	}
	close(work)
	clients.Wait()
	r.check(t, task{"good", whole, false})
	r.check(t, task{"good", whole, true})
	memory := most()
	t.Logf("%s: %d requests of %d kinds in %v: %d wrong; longest %v, %d over the limits by more than a second; at most %d MiB",
		r.mode, len(all), len(kinds), time.Since(began).Round(time.Millisecond), r.faults, r.longest.Round(time.Millisecond), r.late, memory>>20)
	if memory > 512<<20 {
		t.Errorf("the gateway took %d MiB", memory>>20)
	}

	r.settle(t)
	var now, held int
	for end := time.Now().Add(10 * time.Second); ; r.settle(t) {
		if now, held = goroutines(t, r.Gateway), files(t, r.Gateway); now <= routines+3 && held <= open+3 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("%d goroutines and %d files are left of %d and %d", now, held, routines, open)
			break
		}
	}
	for _, secret := range []string{canaryKey, canaryHeader, canaryClient, canaryBytes} { // addresses may be there
		if i := strings.Index(r.Log(), secret); i >= 0 {
			t.Errorf("%q is in the log: %.300q", secret, r.Log()[max(0, i-200):])
		}
	}
}

// settle drops all connections that nobody uses: those of the clients, and
// those to the upstreams, which the gateway notices with the next request.
func (r *rig) settle(t *testing.T) {
	r.client.CloseIdleConnections()
	for _, o := range append(r.bad, r.good) {
		o.closeAll()
	}
	time.Sleep(20 * time.Millisecond)
	r.check(t, task{"good", whole, false})
	if r.mode != solo { // the second upstream's as well
		r.ask("500", r.marker(), false)
	}
	r.client.CloseIdleConnections()
}

// check sends one request and judges what comes of it.
func (r *rig) check(t *testing.T, k task) {
	marker := r.marker()
	a := r.ask(k.fault, marker, k.stream)
	fail := func(format string, args ...any) {
		t.Helper()
		r.mu.Lock()
		r.faults++
		n := r.faults
		r.mu.Unlock()
		if n <= 60 {
			t.Errorf("%s, stream %t, %s: "+format+"\nwant %s, got %v", append(append([]any{k.fault, k.stream, r.mode}, args...), k.want, a)...)
		}
	}
	r.timed(k, a, func(limit time.Duration) { fail("longer than %v", limit) })
	if a.refused != nil {
		fail("lost")
		return
	}
	if a.header.Get("X-Request-Id") == "" {
		fail("no request id")
	}
	for _, secret := range r.hidden {
		if strings.Contains(a.body, secret) || shows(a.header, secret) {
			fail("%q is shown", secret)
		}
	}
	got := r.judge(marker, k.stream, a)
	// On a busy machine even a refusal that comes at once may come after the hedge.
	hedged := r.mode == backed && a.took >= hedgeAfter
	if !r.allowed(k, got) && !(hedged && got == whole) {
		fail("came to %q", got)
	}
	for _, o := range append(r.bad, r.good) {
		if n := o.attempts(marker); n > 1 || n > 0 && o == r.bad[1] && r.mode != double || n > 0 && o == r.good && (r.mode != backed || kinds[k.fault].final && !hedged) {
			fail("%d attempts at upstream %s", n, o.name)
		}
	}
}

// timed notes how long an answer took, and calls late if that was too long.
func (r *rig) timed(k task, a result, late func(limit time.Duration)) {
	limit := 250 * time.Millisecond // a good answer
	switch {
	case k.fault == "stream-endless":
		limit = limitStream
	case kinds[k.fault].slow:
		limit = limitFirst + limitIdle
	case kinds[k.fault].refuses:
		limit = limitConnect
	}
	if r.mode != solo && k.fault != "stream-endless" {
		limit *= 2
	}
	r.mu.Lock()
	r.longest = max(r.longest, a.took)
	if a.took > limit+time.Second {
		r.late++
	}
	r.mu.Unlock()
	if limit += 4 * time.Second; a.took > limit { // the machine may be busy
		late(limit)
	}
}

func shows(h map[string][]string, secret string) bool {
	for _, values := range h {
		for _, v := range values {
			if strings.Contains(v, secret) {
				return true
			}
		}
	}
	return false
}

// allowed reports whether an outcome is one of those that a kind may come to.
func (r *rig) allowed(k task, got string) bool {
	match := func(want string) bool {
		for w := range strings.SplitSeq(want, "|") {
			if got == w || strings.HasPrefix(got, w+" ") {
				return true
			}
		}
		return false
	}
	switch {
	case r.mode == solo || kinds[k.fault].final || k.want == whole:
		return match(k.want)
	case r.mode == backed && strings.HasPrefix(k.want, "broken"):
		// Only before the first token may another upstream take over.
		return got == whole || match(k.want)
	case r.mode == backed:
		return got == whole
	case k.fault == "500-once":
		return got == whole || match("500")
	case kinds[k.fault].refuses:
		return got == whole || match(k.want) // the second upstream of these is there
	}
	return match(k.want) || strings.HasPrefix(k.want, "broken") && match("502|504")
}

// judge says what an answer came to, in the words of kind. It is strict: whole
// is byte for byte what one upstream said.
func (r *rig) judge(marker string, stream bool, a result) string {
	if a.status != 200 {
		return refusal(a)
	}
	if a.err == nil && !strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream") {
		for _, o := range append(r.bad, r.good) {
			if a.body == wholeAnswer(marker, o.name) {
				return whole
			}
		}
		return "neither whole nor an error"
	}
	if !stream {
		return "cut, with status 200"
	}
	said := payloads(a.body)
	for _, o := range append(r.bad, r.good) {
		want := pieces(marker, o.name)
		n := 0
		for n < len(said) && n < len(want) && said[n] == want[n] {
			n++
		}
		switch rest := said[n:]; {
		case n == 0:
		case n == len(want) && len(rest) == 1 && rest[0] == "[DONE]":
			if a.err != nil {
				return "whole, but the end of its body"
			}
			return whole
		case len(rest) != 1:
			return "neither whole nor an error"
		default:
			code, problem := errorCode(rest[0])
			switch {
			case problem != "":
				return problem
			case a.err == nil:
				return "an error event, and then the end of a whole body"
			}
			return "broken " + code
		}
	}
	return "neither whole nor an error"
}

// refusal judges an answer that is an error.
func refusal(a result) string {
	if a.err != nil {
		return "an error that is cut"
	}
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		return "an error that is not JSON"
	}
	code, problem := errorCode(a.body)
	if problem != "" {
		return problem
	}
	return strings.TrimSpace(strconv.Itoa(a.status) + " " + code)
}

// errorCode is the code of an error object, or what is wrong with it.
func errorCode(body string) (code, problem string) {
	var e struct{ Error map[string]any }
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		return "", "an error that is not JSON: " + err.Error()
	}
	for _, key := range []string{"message", "type", "param", "code"} {
		if _, ok := e.Error[key]; !ok {
			return "", "an error without " + key
		}
	}
	if m, ok := e.Error["message"].(string); !ok || m == "" {
		return "", "an error without a text"
	}
	code, _ = e.Error["code"].(string)
	return code, ""
}

// payloads are the data of a stream's events.
func payloads(stream string) []string {
	var out []string
	for line := range strings.SplitSeq(stream, "\n") {
		if data, ok := strings.CutPrefix(strings.TrimRight(line, "\r"), "data:"); ok {
			out = append(out, strings.TrimPrefix(data, " "))
		}
	}
	return out
}
