package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// models answers GET /v1/models and /v1/models/{id}: the names that the file
// declares, joined by those of the upstream behind "*", if there is one.
type models struct {
	list *pipeline.Models
}

// Handle implements pipeline.Handler.
func (m *models) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	uri := ex.Request.Header.RequestURI()
	path, _, _ := bytes.Cut(uri, []byte{'?'})
	if id, ok := modelID(path); ok && len(id) > 0 {
		return m.one(ctx, ex, id)
	}
	own := m.declared()
	if len(ex.Targets) == 0 {
		setJSON(ex, joinModels(nil, own))
		return nil
	}
	if len(own) > 0 {
		plain(&ex.Request.Header)
	}
	return ask(ctx, ex, func() error {
		if len(own) == 0 || ex.Response.Header.StatusCode() != 200 || ex.Response.Body == nil {
			return hold(ex)
		}
		return m.join(ex, own)
	})
}

// hold reads an answer to its end before any of it goes out: one that is cut is a failure,
// for which there may be another target, and no part of it is shown.
func hold(ex *pipeline.Exchange) error {
	status := ex.Response.Header.StatusCode()
	if ex.Response.Body == nil || status >= 300 || status == 204 || ex.Request.Header.IsHead() {
		return nil
	}
	body, err := readList(ex)
	if err == nil {
		ex.Response.SetBody(body)
	}
	return err
}

// readList reads an answer to its end.
func readList(ex *pipeline.Exchange) (body []byte, err error) {
	for {
		frame, err := ex.Response.Body.Next()
		if body = append(body, frame...); len(body) > maxModels {
			return nil, badList("the upstream's answer about models has more than 8 MiB")
		}
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// ask asks the targets, one after another, until one answers with what finish can use. No
// request for models leaves anything behind.
func ask(ctx context.Context, ex *pipeline.Exchange, finish func() error) error {
	for i, t := range ex.Targets {
		ex.Target = t
		err := pipeline.CallTarget.Handle(ctx, ex, nil)
		if err == nil {
			err = finish()
		}
		if i == len(ex.Targets)-1 || ctx.Err() != nil || !pipeline.FaultOf(ex, err).Retryable() {
			return err
		}
		ex.Response.CloseBody()
		ex.Response.Reset()
	}
	return nil
}

// plain takes from a request what would bring anything but the whole list, as JSON
// that can be read: the list that the client gets is another one than the upstream's.
func plain(h *fasthttp.RequestHeader) {
	h.SetMethod(fasthttp.MethodGet)
	for _, name := range [...]string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		h.Del(name)
	}
	h.Set("Accept-Encoding", "identity")
}

// maxModels is the longest list of models that is taken from an upstream, in bytes.
const maxModels = 8 << 20

// join puts the declared names in front of the upstream's others.
func (m *models) join(ex *pipeline.Exchange, own []string) error {
	if enc := ex.Response.Header.ContentEncoding(); len(enc) > 0 && string(enc) != "identity" {
		return badList("the upstream compressed its list of models although it was asked not to")
	}
	body, err := readList(ex)
	if err != nil {
		return err
	}
	var view chat.Request
	if err := view.Scan(body); err != nil {
		return badList("the upstream's list of models is no JSON object; is its url the right one?")
	}
	data, ok := view.Member("data")
	if !ok || len(data) == 0 || data[0] != '[' {
		setJSON(ex, body)
		return nil
	}
	var theirs []byte
	for element := range chat.Array(data) {
		if id, ok := chat.Text(chat.Get(element, "id")); ok && slices.Contains(own, id) {
			continue // calls of that name go where the file says
		}
		if len(theirs) > 0 {
			theirs = append(theirs, ',')
		}
		theirs = append(theirs, element...)
	}
	setJSON(ex, view.AppendEdit(nil, chat.Edit{Key: "data", Value: modelList(theirs, own)}))
	return nil
}

func badList(text string) error {
	return &pipeline.Error{Status: 502, Code: "upstream_protocol", Fault: pipeline.UpstreamFault, Err: errors.New(text)}
}

// one answers /v1/models/{id}.
func (m *models) one(ctx context.Context, ex *pipeline.Exchange, id []byte) error {
	name := bytes.ReplaceAll(bytes.ReplaceAll(id, []byte("%2F"), root), []byte("%2f"), root)
	found := m.list.Find(name)
	switch {
	case found == nil:
		return noModel(name)
	case found.Name == string(name):
		setJSON(ex, appendModel(nil, found.Name))
		return nil
	case len(found.Targets) == 0:
		return noModel(name)
	}
	ex.Model, ex.Targets = found, found.Targets
	return ask(ctx, ex, func() error { return hold(ex) })
}

// declared lists the names that stand for themselves.
func (m *models) declared() (names []string) {
	for _, d := range m.list.List() {
		if !strings.HasSuffix(d.Name, "*") {
			names = append(names, d.Name)
		}
	}
	return names
}

func joinModels(theirs []byte, own []string) []byte {
	b := append([]byte(nil), `{"object":"list","data":`...)
	b = append(b, modelList(theirs, own)...)
	return append(b, '}')
}

// modelList is a JSON array of own, then of the elements in theirs.
func modelList(theirs []byte, own []string) []byte {
	b := []byte{'['}
	for i, name := range own {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendModel(b, name)
	}
	if len(own) > 0 && len(theirs) > 0 {
		b = append(b, ',')
	}
	return append(append(b, theirs...), ']')
}

// appendModel appends OpenAI's model object. Its date is that of no model in
// particular.
func appendModel(b []byte, name string) []byte {
	b = append(b, `{"id":`...)
	b = chat.AppendString(b, name)
	return append(b, `,"object":"model","created":1700000000,"owned_by":"headrace"}`...)
}

func setJSON(ex *pipeline.Exchange, body []byte) {
	ex.Response.Header.SetStatusCode(200)
	ex.Response.Header.SetContentType("application/json")
	ex.Response.SetBody(body)
}
