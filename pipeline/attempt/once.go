package attempt

import "github.com/headrace/headrace/pipeline"

// Once reports whether the request must not run twice, because an upstream
// keeps something for each time that it runs, or because its body can be read
// only once. An Idempotency-Key changes nothing: it is a promise between the
// client and one upstream, and the other attempt goes to another.
func Once(ex *pipeline.Exchange) bool {
	if ex.Request.Upload != nil {
		return true
	}
	switch ex.Op {
	case pipeline.OpChat, pipeline.OpCompletions:
		return asks(ex, "store", false)
	case pipeline.OpResponses:
		return asks(ex, "store", true) || asks(ex, "background", false)
	case pipeline.OpEmbeddings, pipeline.OpRerank:
		return false
	}
	h := &ex.Request.Header
	return !h.IsGet() && !h.IsHead() && !h.IsOptions()
}

// asks reports whether the body's member key is anything but false. absent is
// the answer where the body does not say. A body that cannot be read asks for
// whatever it likes.
func asks(ex *pipeline.Exchange, key string, absent bool) bool {
	c, err := ex.Chat()
	if err != nil {
		return true
	}
	raw, ok := c.Member(key)
	if !ok || string(raw) == "null" {
		return absent
	}
	return string(raw) != "false"
}
