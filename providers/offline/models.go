package offline

import (
	"bytes"
	"net/url"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// listing is the list of models, as JSON.
func listing(names []string) []byte {
	b := []byte(`{"object":"list","data":[`)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = describe(b, name)
	}
	return append(b, "]}"...)
}

// released is the date of every model: the one that the gateway gives to the names of its
// file, among which these are listed.
const released = "1700000000"

func describe(b []byte, name string) []byte {
	b = chat.AppendString(append(b, `{"id":`...), name)
	return append(b, `,"object":"model","created":`+released+`,"owned_by":"headrace"}`...)
}

// models lists the models, or describes one.
func (c *call) models(ex *pipeline.Exchange) *refusal {
	h := &ex.Request.Header
	if !h.IsGet() && !h.IsHead() {
		return &refusal{405, "Only GET is allowed here.", "", "method_not_allowed"}
	}
	path, _, _ := bytes.Cut(h.RequestURI(), []byte("?"))
	name, one := bytes.CutPrefix(bytes.TrimPrefix(path, []byte("/v1")), []byte("/models/"))
	if !one {
		c.out = append(c.out, c.p.listing...)
		return nil
	}
	asked, err := url.PathUnescape(string(name))
	if err != nil {
		asked = string(name)
	}
	for _, known := range c.p.Models {
		if known == asked {
			c.out = describe(c.out, known)
			return nil
		}
	}
	return &refusal{404, "The model '" + asked + "' does not exist.", "model", "model_not_found"}
}
