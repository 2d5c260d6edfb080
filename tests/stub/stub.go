// Package stub is an OpenAI-shaped upstream that does as it is told and
// remembers what it was sent. It serves tests: the name of the model says how a
// request is answered, and /_stub/requests tells what arrived.
//
// Models of chat completions:
//
//	error-N    status N with an OpenAI error object; 429 and 503 say Retry-After: 1
//	once-N     the first request fails like error-N, the next ones are answered
//	hang       no answer until the client leaves
//	drip       a stream with an event every 50 ms, for four seconds
//	stall      a stream of two events, then silence until the client leaves
//	cut        a stream (or a body) that breaks off without an end
//	in-stream  a stream with an error object after two events
//	large      an answer of a mebibyte
//	tool       calls the function get_weather
//	any other  repeats the last message
//
// Of these, responses know in-stream: a stream with an event "error" after two others. Besides,
// unstreamed answers in one piece whether a stream was asked for or not.
package stub

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// A Record is one request as it arrived.
type Record struct {
	Method string              `json:"method"`
	Path   string              `json:"path"`
	Query  string              `json:"query"`
	Header map[string][]string `json:"header"`
	Body   string              `json:"body"`   // up to 64 KiB of it
	Size   int64               `json:"size"`   // all of it
	SHA256 string              `json:"sha256"` // of all of it
	Model  string              `json:"model"`
	Left   bool                `json:"left"` // the client left before the answer was whole
	Done   bool                `json:"done"` // the handler has returned
}

// A Server is a running stub.
type Server struct {
	// URL is the base that stands for /v1, ending in /v1.
	URL string

	http    *httptest.Server
	mu      sync.Mutex
	records []*Record       // guarded by mu
	failed  map[string]bool // guarded by mu; models once-N that have failed
	how     string          // guarded by mu; the model that all are treated as, if any
}

// Start serves on a free loopback port until Close.
func Start() *Server {
	s := &Server{failed: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_stub/requests", s.list)
	mux.HandleFunc("POST /_stub/reset", s.reset)
	for path, h := range map[string]func(http.ResponseWriter, *http.Request, *call){
		"POST /v1/chat/completions":     chat,
		"POST /v1/completions":          completions,
		"POST /v1/embeddings":           embeddings,
		"POST /v1/responses":            responses,
		"GET /v1/responses/{id}":        storedResponse,
		"POST /v1/rerank":               rerank,
		"POST /v2/rerank":               rerank,
		"GET /v1/models":                models,
		"GET /v1/models/{id}":           model,
		"POST /v1/files":                upload,
		"GET /v1/files/{id}/content":    download,
		"DELETE /v1/files/{id}":         remove,
		"POST /v1/audio/speech":         speech,
		"POST /v1/audio/transcriptions": transcription,
		"/":                             unknown,
	} {
		mux.HandleFunc(path, s.record(h))
	}
	s.http = httptest.NewServer(mux)
	s.URL = s.http.URL + "/v1"
	return s
}

// Close ends the server and every connection to it.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// Requests returns what has arrived since the last Reset, in order.
func (s *Server) Requests() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Record, len(s.records))
	for i, r := range s.records {
		out[i] = *r
	}
	return out
}

// Reset forgets what has arrived.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records, s.failed, s.how = nil, map[string]bool{}, ""
}

// Behave treats every request with a model as if it had asked for this one,
// until Reset or Behave("").
func (s *Server) Behave(model string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.how = model
}

func (s *Server) list(w http.ResponseWriter, _ *http.Request) { answer(w, 200, s.Requests()) }

func (s *Server) reset(w http.ResponseWriter, _ *http.Request) {
	s.Reset()
	w.WriteHeader(http.StatusNoContent)
}

// firstTime reports whether a once-N model has not failed yet.
func (s *Server) firstTime(model string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.failed[model]
	s.failed[model] = true
	return first
}

// A call is one request being answered.
type call struct {
	*Record
	s    *Server
	body []byte
	json map[string]any // the body, if it is an object
	how  string         // the model that says how to answer
}

// keptBody bounds what a Record keeps of a body, and maxBody what is read.
const (
	keptBody = 64 << 10
	maxBody  = 256 << 20
)

func (s *Server) record(h func(http.ResponseWriter, *http.Request, *call)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{Record: &Record{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header}, s: s}
		s.mu.Lock()
		s.records = append(s.records, c.Record)
		s.mu.Unlock()
		sum := sha256.New()
		body, err := io.ReadAll(io.TeeReader(io.LimitReader(r.Body, maxBody), sum))
		_ = json.Unmarshal(body, &c.json)
		model, _ := c.json["model"].(string)
		s.mu.Lock()
		c.Size, c.SHA256 = int64(len(body)), hex.EncodeToString(sum.Sum(nil))
		c.Body, c.Model, c.Left = string(body[:min(len(body), keptBody)]), model, err != nil
		c.body, c.how = body, model
		if s.how != "" && model != "" {
			c.how = s.how
		}
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			c.Left = c.Left || r.Context().Err() != nil
			c.Done = true
			s.mu.Unlock()
		}()
		if err == nil && !c.fail(w) {
			h(w, r, c)
		}
	}
}

// fail answers for the models error-N and once-N.
func (c *call) fail(w http.ResponseWriter) bool {
	code, ok := strings.CutPrefix(c.how, "error-")
	if !ok {
		if code, ok = strings.CutPrefix(c.how, "once-"); !ok || !c.s.firstTime(c.how) {
			return false
		}
	}
	status := 500
	if _, err := json.Number(code).Int64(); err == nil {
		status = 0
		for _, d := range code {
			status = status*10 + int(d-'0')
		}
	}
	if status == 429 || status == 503 {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("X-Ratelimit-Remaining-Requests", "0")
	answer(w, status, map[string]any{"error": map[string]any{
		"message": "the stub was asked for status " + code, "type": errorType(status), "param": nil, "code": "stub_error",
	}})
	return true
}

func errorType(status int) string {
	switch {
	case status == 401:
		return "authentication_error"
	case status == 403:
		return "permission_error"
	case status == 429:
		return "rate_limit_error"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Request-Id", "req_stub")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// pause waits for d, or until the client leaves; it reports whether it waited.
func pause(r *http.Request, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
		return false
	}
}
