package prompt

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// asked are the parts of include that put a member "rag" into the answer.
const asked = pipeline.IncludeCitations | pipeline.IncludeContext | pipeline.IncludeDebug

// maxAnswer bounds the answers that are read whole, to be annotated.
const maxAnswer = 64 << 20

// mostAnnotations is how many one text gets: more than anyone reads.
const mostAnnotations = 1000

// account puts into the body of the answer what belongs there.
func (h *handler) account(ex *pipeline.Exchange, t *told) error {
	res := &ex.Response
	if res.Body == nil || res.Fault != pipeline.NoFault || res.Header.StatusCode() != fasthttp.StatusOK || len(res.Header.ContentEncoding()) > 0 {
		return nil
	}
	var account []byte
	if t.r.Options.Include&asked != 0 {
		account = t.rag()
	}
	switch mime, _, _ := bytes.Cut(res.Header.ContentType(), []byte{';'}); string(bytes.ToLower(bytes.TrimSpace(mime))) {
	case "text/event-stream":
		var cites []cited
		if t.r.Options.Include&pipeline.IncludeAnnotations != 0 {
			cites = t.sources
		}
		if account == nil && len(cites) == 0 {
			return nil
		}
		if ex.Op == pipeline.OpResponses {
			res.Body = &responseEvents{Stream: res.Body, sources: cites, account: account}
		} else {
			res.Body = &events{Stream: res.Body, sources: cites, account: account}
		}
		res.Header.SetContentLength(-1)
	case "application/json":
		var cites []cited
		if h.Citations {
			cites = t.sources
		}
		if account == nil && len(cites) == 0 {
			return nil
		}
		return rewrite(res, cites, account)
	}
	return nil
}

// rewrite annotates an answer that is one JSON object.
func rewrite(res *pipeline.Response, sources []cited, account []byte) error {
	b, ok := res.Whole()
	if !ok {
		var err error
		if b, err = readAll(res.Body); err != nil {
			return err
		}
	}
	if out := annotated(b, sources, account); out != nil {
		b = out
	} else if ok {
		return nil
	}
	res.SetBody(b)
	return nil
}

// readAll reads a body to its end.
func readAll(s pipeline.Stream) ([]byte, error) {
	var b []byte
	for {
		frame, err := s.Next()
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, err
		case len(b)+len(frame) > maxAnswer:
			return nil, &pipeline.Error{
				Status: 502, Code: "upstream_too_large", Fault: pipeline.UpstreamFault,
				Err: fmt.Errorf("the answer has more than %d bytes", maxAnswer),
			}
		}
		b = append(b, frame...)
	}
}

// annotated returns an answer with annotations on the markers in its messages and
// with account as its member "rag"; nil if there is nothing to change.
func annotated(b []byte, sources []cited, account []byte) []byte {
	var answer chat.Request
	if answer.Scan(b) != nil {
		return nil
	}
	var edits []chat.Edit
	if len(sources) > 0 && bytes.IndexByte(b, '[') >= 0 {
		for _, part := range [...]struct {
			key  string
			with func(raw []byte, sources []cited) []byte
		}{{"choices", withMessages}, {"output", withOutput}} {
			if raw, ok := answer.Member(part.key); ok {
				if changed := part.with(raw, sources); changed != nil {
					edits = append(edits, chat.Edit{Key: part.key, Value: changed})
				}
			}
		}
	}
	if account != nil {
		edits = append(edits, chat.Edit{Key: "rag", Value: account})
	}
	if len(edits) == 0 {
		return nil
	}
	return answer.AppendEdit(nil, edits...)
}

// withMessages returns the choices of a completion with annotations; nil if there are
// none.
func withMessages(choices []byte, sources []cited) []byte {
	return eachObject(choices, func(choice *chat.Request) []byte {
		raw, ok := choice.Member("message")
		if !ok {
			return nil
		}
		text, _ := chat.AppendText(nil, chat.Get(raw, "content"))
		return withAnnotations(choice, "message", raw, text, sources)
	})
}

// eachObject returns an array with the objects that change replaced; nil if none
// does.
func eachObject(raw []byte, change func(o *chat.Request) []byte) []byte {
	out := []byte{'['}
	changed := false
	var o chat.Request
	for e := range chat.Array(raw) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		if o.Scan(e) == nil {
			if edited := change(&o); edited != nil {
				out, changed = append(out, edited...), true
				continue
			}
		}
		out = append(out, e...)
	}
	if !changed {
		return nil
	}
	return append(out, ']')
}

// withAnnotations returns the choice with annotations added to its member key,
// an object, for the markers in text; nil if there are none.
func withAnnotations(choice *chat.Request, key string, object, text []byte, sources []cited) []byte {
	var msg chat.Request
	if msg.Scan(object) != nil {
		return nil
	}
	edited := added(&msg, annotations(text, sources, false))
	if edited == nil {
		return nil
	}
	return choice.AppendEdit(nil, chat.Edit{Key: key, Value: edited})
}

// added returns an object with annotations behind those that it has; nil if there are
// none to add.
func added(o *chat.Request, list [][]byte) []byte {
	if len(list) == 0 {
		return nil
	}
	all := bytes.Join(list, []byte{','})
	if have, ok := o.Member("annotations"); ok && have[0] == '[' {
		if inner := bytes.TrimSpace(have[1 : len(have)-1]); len(inner) > 0 {
			all = append(append(bytes.Clone(inner), ','), all...)
		}
	}
	return o.AppendEdit(nil, chat.Edit{Key: "annotations", Value: append(append([]byte{'['}, all...), ']')})
}

// annotations are those for the markers [n] in text that name a source. Places are
// counted in code points. Those of a response are flat. There are mostAnnotations at
// most: each is many times as long as its marker.
func annotations(text []byte, sources []cited, flat bool) (list [][]byte) {
	point := 0 // of text[done:]
	done := 0
	for {
		open := bytes.IndexByte(text[done:], '[')
		if open < 0 || len(list) == mostAnnotations {
			return list
		}
		point += utf8.RuneCount(text[done : done+open])
		done += open
		n, length := marker(text[done:])
		if n < 1 || n > len(sources) {
			done++
			point++
			continue
		}
		list = append(list, annotation(point, point+length, &sources[n-1], flat))
		done += length
		point += length
	}
}

// marker reads "[n]" at the beginning of b.
func marker(b []byte) (n, length int) {
	i := 1
	for i < len(b) && i < 5 && b[i] >= '0' && b[i] <= '9' {
		n = 10*n + int(b[i]-'0')
		i++
	}
	if i == 1 || i >= len(b) || b[i] != ']' {
		return 0, 0
	}
	return n, i + 1
}

// annotation is a standard url_citation.
func annotation(from, to int, c *cited, flat bool) []byte {
	b := []byte(`{"type":"url_citation",`)
	if !flat {
		b = append(b, `"url_citation":{`...)
	}
	b = strconv.AppendInt(append(b, `"start_index":`...), int64(from), 10)
	b = strconv.AppendInt(append(b, `,"end_index":`...), int64(to), 10)
	b = chat.AppendString(append(b, `,"url":`...), c.url)
	b = append(chat.AppendString(append(b, `,"title":`...), c.title), '}')
	if !flat {
		b = append(b, '}')
	}
	return b
}
