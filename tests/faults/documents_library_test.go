package faults

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A library is the upstreams of retrieval in one: it makes embeddings, ranks, and answers
// chats, responses and completions, each below a path of its own. What a text says decides
// how it is treated: "E:nan" has the embedder answer with what is no number, "R:" is for
// the reranker and "C:" for the model that answers. "N:" and a name tells requests apart.
type library struct {
	addr string
	ln   net.Listener
	done sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool    // guarded by mu
	asked map[string][]string  // bodies by kind and name of the request; guarded by mu
	left  map[string]time.Time // when the gateway went away, by kind and name; guarded by mu
	ill   map[string]string    // faults of whole parts, by kind; guarded by mu
}

var (
	scripted = regexp.MustCompile(`\b([ERC]):([a-z0-9-]+)`)
	named    = regexp.MustCompile(`\bN:([a-z0-9-]+)`)
)

func newLibrary(t testing.TB) *library {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &library{addr: ln.Addr().String(), ln: ln, conns: map[net.Conn]bool{}, asked: map[string][]string{}, left: map[string]time.Time{}, ill: map[string]string{}}
	l.done.Go(func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			l.mu.Lock()
			l.conns[c] = true
			l.mu.Unlock()
			l.done.Go(func() {
				defer func() { _ = c.Close() }()
				l.serve(c.(*net.TCPConn)) //nolint:forcetypeassert // the listener is TCP
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		l.mu.Lock()
		for c := range l.conns {
			_ = c.Close()
		}
		l.mu.Unlock()
		l.done.Wait()
	})
	return l
}

// sicken has all requests of a kind meet a fault; an empty one heals.
func (l *library) sicken(kind, fault string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ill[kind] = fault
}

// requests are the bodies of what came for a request.
func (l *library) requests(kind, name string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.asked[kind+" "+name]...)
}

// leftAt is when the gateway gave up what it asked for a request.
func (l *library) leftAt(kind, name string) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.left[kind+" "+name]
	return at, ok
}

// A reading is one request to a library.
type reading struct {
	*wire
	l          *library
	kind, name string
	path       string
}

func (l *library) serve(c *net.TCPConn) {
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		kind := map[string]string{"/embed/v1/embeddings": "E", "/judge/v1/rerank": "R"}[req.URL.Path]
		if kind == "" {
			kind = "C"
		}
		r := &reading{wire: &wire{Conn: c, tcp: c, in: in, o: &origin{}, body: string(b)}, l: l, kind: kind, path: req.URL.Path}
		r.stream = strings.Contains(r.body, `"stream":true`) || strings.Contains(r.body, `"stream": true`)
		if m := named.FindStringSubmatch(r.body); m != nil {
			r.name = m[1]
		}
		fault := ""
		for _, m := range scripted.FindAllStringSubmatch(r.body, -1) {
			if m[1] == kind {
				fault = m[2]
			}
		}
		l.mu.Lock()
		l.asked[kind+" "+r.name] = append(l.asked[kind+" "+r.name], r.body)
		if f := l.ill[kind]; f != "" {
			fault = f
		}
		l.mu.Unlock()
		if !r.answer(fault) || r.dead {
			return
		}
	}
}

// away waits until the gateway has left.
func (r *reading) away() bool {
	_ = r.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.Copy(io.Discard, r.in)
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.l.left[r.kind+" "+r.name] = time.Now()
	return false
}

// answer does what a fault is called after, or else answers well.
func (r *reading) answer(fault string) bool {
	good := r.good()
	switch fault {
	case "500":
		return r.say("HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n", length(problem("no", "server_error", "broken")), "\r\n", problem("no", "server_error", "broken"))
	case "429":
		b := problem("slow down", "rate_limit_error", "rate_limit_exceeded")
		return r.say("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 17\r\nContent-Type: application/json\r\n", length(b), "\r\n", b)
	case "slow":
		time.Sleep(200 * time.Millisecond)
		return r.say(jsonHead, length(good), "\r\n", good)
	case "hang":
		return r.away()
	case "trickle":
		r.say(jsonHead, length(good), "\r\n")
		go func() {
			for i := range good {
				if !r.say(good[i : i+1]) {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}()
		return r.away()
	case "reset":
		return r.reset()
	case "cut":
		r.say(jsonHead, length(good), "\r\n", good[:len(good)/2])
		return false
	case "html":
		b := "<html>" + canaryBytes + "</html>"
		return r.say("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", length(b), "\r\n", b)
	case "gzip":
		return r.say(jsonHead, "Content-Encoding: gzip\r\n", length(good), "\r\n", good)
	case "empty":
		return r.say(jsonHead, "Content-Length: 0\r\n\r\n")
	case "error200":
		b := problem("no", "server_error", "broken")
		return r.say(jsonHead, length(b), "\r\n", b)
	}
	if r.kind == "C" && r.stream {
		return r.tell(fault)
	}
	b := r.spoilt(fault)
	return r.say(jsonHead, length(b), "\r\n", b)
}

// good is the right answer as JSON.
func (r *reading) good() string {
	switch r.kind {
	case "E":
		return r.embeddings("")
	case "R":
		return r.scores("")
	}
	return r.words()
}

func (r *reading) spoilt(fault string) string {
	switch r.kind {
	case "E":
		return r.embeddings(fault)
	case "R":
		return r.scores(fault)
	}
	return r.words()
}

// dims is how long a library's vectors are.
const dims = 8

// vectorOf is the vector of a text: of what its letters are.
func vectorOf(text string) []float32 {
	v := make([]float32, dims)
	for w := range strings.FieldsSeq(strings.ToLower(text)) {
		if strings.Contains(w, ":") {
			continue
		}
		h := fnv.New32a()
		_, _ = io.WriteString(h, strings.Trim(w, ".,?"))
		v[h.Sum32()%dims]++
	}
	v[0] += 0.1
	return v
}

func (r *reading) embeddings(fault string) string {
	var req struct {
		Input    []string
		Encoding string `json:"encoding_format"`
	}
	_ = json.Unmarshal([]byte(r.body), &req)
	var items []string
	for i, text := range req.Input {
		v := vectorOf(text)
		if fault == "dimension" {
			v = v[:dims-3]
		}
		if fault == "nan-packed" {
			v[1] = float32(math.NaN())
		}
		var e string
		switch {
		case fault == "nan":
			e = "[" + strings.Repeat("NaN,", dims-1) + "1]"
		case fault == "null":
			e = "[" + strings.Repeat("null,", dims-1) + "1]"
		case fault == "zero":
			e = "[" + strings.Repeat("0,", dims-1) + "0]"
		case req.Encoding == "base64":
			var b []byte
			for _, x := range v {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
			}
			e = `"` + base64.StdEncoding.EncodeToString(b) + `"`
		default:
			b, _ := json.Marshal(v)
			e = string(b)
		}
		at := i
		switch fault {
		case "order": // right, in another order
			at = len(req.Input) - 1 - i
			if req.Encoding != "base64" {
				break
			}
			var b []byte
			for _, x := range vectorOf(req.Input[at]) {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
			}
			e = `"` + base64.StdEncoding.EncodeToString(b) + `"`
		case "index-beyond":
			at = i + 7
		case "index-twice":
			at = 0
		}
		items = append(items, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":%s}`, at, e))
	}
	switch fault {
	case "fewer":
		items = items[1:]
	case "more":
		items = append(items, items...)
	case "nothing":
		items = nil
	}
	return `{"object":"list","data":[` + strings.Join(items, ",") + `],"model":"e","usage":{"prompt_tokens":1,"total_tokens":1}}`
}

func (r *reading) scores(fault string) string {
	if fault == "rubbish" {
		return `{"results": [ {"index": 0, "relevance_score": oops } ` + canaryBytes
	}
	var req struct{ Documents []string }
	_ = json.Unmarshal([]byte(r.body), &req)
	var items []string
	for i, d := range req.Documents {
		at, score := i, fmt.Sprintf("%.3f", 0.9-float64(len(d)%50)/100)
		switch {
		case fault == "beyond" && i == 0:
			at = len(req.Documents)
		case fault == "negative" && i == 0:
			at = -1
		case fault == "twice":
			at = 0
		case fault == "null" && i == 0:
			score = "null"
		case fault == "nan" && i == 0:
			score = `"NaN"`
		}
		items = append(items, fmt.Sprintf(`{"index":%d,"relevance_score":%s}`, at, score))
	}
	switch fault {
	case "none":
		items = nil
	case "fewer":
		items = items[1:]
	case "missing":
		return `{"id":"r","meta":{}}`
	case "tei": // as text-embeddings-inference answers: a bare list
		return `[` + strings.ReplaceAll(strings.Join(items, ","), "relevance_score", "score") + `]`
	}
	return `{"id":"r","results":[` + strings.Join(items, ",") + `],"meta":{"api_version":{"version":"2"}}}`
}

// said is what the model answers: it cites passages that there are, and some that there are not.
func (r *reading) said() []string {
	return []string{"For " + r.name + ": ", "the crew [1", "], and ", "[2] [3] [9] [0] ", "[99] ", "do it."}
}

// words is the answer of a model in one piece.
func (r *reading) words() string {
	text, _ := json.Marshal(strings.Join(r.said(), ""))
	switch {
	case strings.HasSuffix(r.path, "/responses"):
		return `{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":` + string(text) + `,"annotations":[]}]}]}`
	case strings.HasSuffix(r.path, "/chat/completions"):
		return `{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":` + string(text) + `},"finish_reason":"stop"}]}`
	}
	return `{"id":"c1","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":` + string(text) + `,"finish_reason":"stop","logprobs":null}]}`
}

// script are the events of a stream, of which the last finish ones say that the text has ended.
func (r *reading) script() (events []string, finish int) {
	text, _ := json.Marshal(strings.Join(r.said(), ""))
	switch {
	case strings.HasSuffix(r.path, "/responses"):
		n := -1
		add := func(kind, more string) {
			n++
			events = append(events, fmt.Sprintf(`{"type":"response.%s","sequence_number":%d,%s}`, kind, n, more))
		}
		const at = `"item_id":"msg_1","output_index":0,"content_index":0,`
		add("created", `"response":{"id":"resp_1","object":"response","status":"in_progress","output":[]}`)
		add("output_item.added", `"output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}`)
		add("content_part.added", at+`"part":{"type":"output_text","text":"","annotations":[]}`)
		for _, s := range r.said() {
			d, _ := json.Marshal(s)
			add("output_text.delta", at+`"delta":`+string(d))
		}
		part := `{"type":"output_text","text":` + string(text) + `,"annotations":[]}`
		item := `{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[` + part + `]}`
		add("output_text.done", at+`"text":`+string(text))
		add("content_part.done", at+`"part":`+part)
		add("output_item.done", `"output_index":0,"item":`+item)
		add("completed", `"response":{"id":"resp_1","object":"response","status":"completed","output":[`+item+`]}`)
		return events, 1
	case strings.HasSuffix(r.path, "/chat/completions"):
		add := func(delta, reason string) {
			events = append(events, `{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":`+delta+`,"finish_reason":`+reason+`}]}`)
		}
		add(`{"role":"assistant","content":""}`, "null")
		for _, s := range r.said() {
			d, _ := json.Marshal(s)
			add(`{"content":`+string(d)+`}`, "null")
		}
		add(`{}`, `"stop"`)
		return events, 1
	}
	for _, s := range r.said() {
		d, _ := json.Marshal(s)
		events = append(events, `{"id":"c1","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":`+string(d)+`,"finish_reason":null}]}`)
	}
	events = append(events, `{"id":"c1","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"","finish_reason":"stop"}]}`)
	return events, 1
}

// tell streams an answer, broken as fault says.
func (r *reading) tell(fault string) bool {
	events, finish := r.script()
	responses := strings.HasSuffix(r.path, "/responses")
	line := func(e string) string {
		if responses {
			kind, _, _ := strings.Cut(strings.TrimPrefix(e, `{"type":"`), `"`)
			return "event: " + kind + "\n" + event(e)
		}
		return event(e)
	}
	if !r.say(sseHead) {
		return false
	}
	most, end := len(events), done
	if responses {
		end = ""
	}
	half := len(events) / 2
	switch fault {
	case "cut-half", "cut-half-clean", "cut-within", "error-event", "stall", "reset-half":
		most = half
	case "cut-done", "reset-done": // all but the mark at the end
		end = ""
	case "no-finish", "no-finish-no-done":
		most -= finish
	}
	for _, e := range events[:most] {
		if !r.say(chunk(line(e))) {
			return false
		}
	}
	switch fault {
	case "cut-half", "cut-done":
		return false
	case "reset-half", "reset-done":
		time.Sleep(20 * time.Millisecond)
		return r.reset()
	case "cut-half-clean":
		return r.say(lastChunk)
	case "cut-within":
		e := line(events[half])
		r.say(chunk(e[:len(e)/2]))
		return r.say(lastChunk)
	case "error-event":
		r.say(chunk(event(problem("the model has died", "server_error", "died"))))
		return r.say(lastChunk)
	case "stall":
		return r.away()
	case "no-finish-no-done":
		return r.say(lastChunk)
	}
	if end != "" {
		r.say(chunk(end))
	}
	return r.say(lastChunk)
}
