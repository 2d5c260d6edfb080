package proxy

import (
	"bytes"
	"io"
	"strconv"
	"time"

	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/quiet"
)

// An access log writes one JSON object for each request, in the shape of
// log/slog's JSON handler. A slow disk slows no request: lines that it cannot
// keep up with are dropped and counted.
//
// No query, no header and no body is logged: they may hold secrets.
type access struct {
	mode string // all, errors or off
	out  *quiet.Writer
}

const (
	accessFlush = 200 * time.Millisecond
	accessEager = 32 << 10
	lastLines   = 2 * time.Second // for the rest to be written in
)

func newAccess(out io.Writer, mode string, dropped func()) *access {
	return &access{mode: mode, out: quiet.NewWriter(out, accessEager, accessFlush, dropped)}
}

// write adds the line for j.
func (a *access) write(j *job, took time.Duration) {
	if a.mode == "off" || a.mode == "errors" && j.status < 400 && j.err == nil {
		return
	}
	a.out.Add(func(b []byte) []byte { return appendAccess(b, j, took) })
}

// Close writes what is left.
func (a *access) Close() { a.out.Close(lastLines) }

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
	if t := j.asked(); t != nil {
		b = append(b, `,"target":`...)
		b = chat.AppendString(b, t.Name)
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
