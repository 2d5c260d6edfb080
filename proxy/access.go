package proxy

import (
	"bytes"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline/chat"
)

// An access log writes one JSON object for each request, in the shape of
// log/slog's JSON handler. Lines are gathered in memory and written by one
// goroutine, so that a slow disk slows no request; when it cannot keep up,
// lines are dropped and counted.
//
// No query, no header and no body is logged: they may hold secrets.
type access struct {
	out     io.Writer
	mode    string // all, errors or off
	dropped func()

	mu   sync.Mutex
	buf  []byte // guarded by mu
	wake chan struct{}
	stop chan struct{}
	done chan struct{}
}

const (
	accessFlush = 200 * time.Millisecond
	accessMost  = 1 << 20 // bytes waiting
	accessEager = 32 << 10
)

func newAccess(out io.Writer, mode string, dropped func()) *access {
	a := &access{
		out: out, mode: mode, dropped: dropped,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go a.loop()
	return a
}

// write adds the line for j.
func (a *access) write(j *job, took time.Duration) {
	if a.mode == "off" || a.mode == "errors" && j.status < 400 && j.err == nil {
		return
	}
	a.mu.Lock()
	if len(a.buf) > accessMost {
		a.mu.Unlock()
		a.dropped()
		return
	}
	a.buf = appendAccess(a.buf, j, took)
	eager := len(a.buf) > accessEager
	a.mu.Unlock()
	if eager {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// appendAccess appends the line for j.
func appendAccess(b []byte, j *job, took time.Duration) []byte {
	b = append(b, `{"time":"`...)
	b = j.began.Add(took).AppendFormat(b, time.RFC3339Nano)
	level := "INFO"
	if j.status >= 500 || j.status < 400 && j.err != nil {
		level = "WARN"
	}
	b = append(b, `","level":"`...)
	b = append(b, level...)
	b = append(b, `","msg":"request","request_id":"`...)
	b = append(b, j.id...)
	b = append(b, '"')
	if j.ctx != nil {
		b = append(b, `,"method":"`...)
		b = append(b, j.ctx.Request.Header.Method()...)
		b = append(b, `","path":`...)
		path := j.ctx.Request.Header.RequestURI()
		if i := bytes.IndexByte(path, '?'); i >= 0 {
			path = path[:i]
		}
		b = chat.AppendString(b, string(path[:min(len(path), 512)]))
	}
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(j.status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, j.sent, 10)
	b = append(b, `,"duration_ms":`...)
	b = appendMillis(b, took)
	if j.firstByte > 0 {
		b = append(b, `,"first_byte_ms":`...)
		b = appendMillis(b, j.firstByte)
	}
	b = j.appendOrigin(b)
	if j.code != "" {
		b = append(b, `,"error":`...)
		b = chat.AppendString(b, j.code)
	}
	return append(b, "}\n"...)
}

// appendOrigin appends who asked and who answered.
func (j *job) appendOrigin(b []byte) []byte {
	if j.route != nil {
		b = append(b, `,"route":`...)
		b = chat.AppendString(b, j.route.name)
	}
	ex := j.ex
	if ex == nil {
		return b
	}
	if ex.Tenant != "" {
		b = append(b, `,"tenant":`...)
		b = chat.AppendString(b, ex.Tenant)
	}
	if ex.Model != nil && ex.Op.HasModel() {
		b = append(b, `,"model":`...)
		b = chat.AppendString(b, ex.Model.Name)
	}
	if ex.Target != nil {
		b = append(b, `,"target":`...)
		b = chat.AppendString(b, ex.Target.Name)
		b = append(b, `,"attempts":`...)
		b = strconv.AppendInt(b, int64(ex.Attempts()), 10)
	}
	if hit := ex.Response.Header.Peek("X-Headrace-Cache"); len(hit) > 0 {
		b = append(b, `,"cache":"`...)
		b = append(b, hit...)
		b = append(b, '"')
	}
	return b
}

func appendMillis(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d.Microseconds())/1000, 'f', 3, 64)
}

// loop writes what has gathered, until Close.
func (a *access) loop() {
	defer close(a.done)
	tick := time.NewTicker(accessFlush)
	defer tick.Stop()
	var spare []byte
	for {
		last := false
		select {
		case <-tick.C:
		case <-a.wake:
		case <-a.stop:
			last = true
		}
		a.mu.Lock()
		full := a.buf
		a.buf = spare[:0]
		a.mu.Unlock()
		if len(full) > 0 {
			_, _ = a.out.Write(full) // a log that cannot be written has nowhere to say so
		}
		spare = full
		if last {
			return
		}
	}
}

// Close writes what is left.
func (a *access) Close() {
	close(a.stop)
	<-a.done
}
