package litellm

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// credentials are the fields in which clients show keys: those are for the gateway,
// never for the upstream. The settings may still set them.
var credentials = []string{"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "ocp-apim-subscription-key"}

// sendable reports whether the upstream may see a field of the client's request.
// name is in lower case. known says that the operation is one whose body the gateway
// reads, so that caching, ranges and conditions are not the client's to ask for.
func sendable(name []byte, known bool) bool {
	if len(name) == 0 || len(name) > maxName || bytes.IndexByte(name, '_') >= 0 {
		return false // a name with an underscore may pass for another one
	}
	switch string(name) {
	case "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "content-length",
		"host", "http2-settings",
		"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "ocp-apim-subscription-key", "cookie", "cookie2",
		"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "x-cluster-client-ip", "x-envoy-external-address",
		"x-original-url", "x-original-host", "x-original-uri", "x-rewrite-url", "x-host", "x-http-method-override", "x-http-method", "x-method-override",
		"origin", "referer", "priority", "dnt", "upgrade-insecure-requests",
		// Some upstreams would call such an address, and show it their key.
		"x-portkey-custom-host", "helicone-target-url", "helicone-openai-api-base", "x-custom-host", "x-api-base", "x-base-url":
		return false
	case "accept-encoding", "cache-control", "pragma", "range", "accept-ranges", "content-encoding":
		return !known
	}
	for _, prefix := range [...]string{"proxy-", "x-forwarded-", "x-headrace-", "x-rag", "sec-", "cf-", "access-control-"} {
		if len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix {
			return false
		}
	}
	return !known || len(name) < 3 || string(name[:3]) != "if-"
}

// relayed stands before the names of fields that LiteLLM has from its own upstream.
const relayed = "llm_provider-"

// passable reports whether the client may see a field of the upstream's answer. name
// is in lower case. What LiteLLM relays, perhaps from another LiteLLM, is judged by its
// name there; what it says of the body is of one that was read. A key that an upstream
// sends back is the gateway's own.
func passable(name []byte, known bool) bool {
	for len(name) > len(relayed) && string(name[:len(relayed)]) == relayed {
		if name = name[len(relayed):]; string(name) == "content-length" {
			return false
		}
		known = true
	}
	switch string(name) {
	case "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
		"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "ocp-apim-subscription-key", "cookie", "cookie2",
		"set-cookie", "set-cookie2", "server", "date", "alt-svc", "via",
		"location", "content-location", "refresh", "www-authenticate", "authentication-info",
		"strict-transport-security", "public-key-pins", "clear-site-data", "nel", "report-to", "reporting-endpoints":
		return false
	case "content-encoding", "accept-ranges", "content-range":
		return !known
	}
	for _, prefix := range [...]string{"proxy-", "x-headrace-", "x-rag", "access-control-"} {
		if len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix {
			return false
		}
	}
	return true
}

// maxName is the longest name that the lists above hold, and more.
const maxName = 64

// lowerName appends name in lower case.
func lowerName(dst []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// lower puts name into room in lower case, or returns nil if it does not fit.
func lower(room *[maxName]byte, name []byte) []byte {
	if len(name) > len(room) {
		return nil
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		room[i] = c
	}
	return room[:len(name)]
}

// isName reports whether s is a field name that can be sent.
func isName(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool {
		return r >= 0x7f || r <= ' ' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}

// requestHeader makes the header of the upstream's request out of the client's.
func (c *call) requestHeader(from *fasthttp.RequestHeader, e *endpoint) {
	h := &c.req.Header
	h.Reset()
	h.SetNoDefaultContentType(true)
	h.DisableNormalizing() // the client's names are in canonical form already, and so are ours
	h.SetMethodBytes(from.Method())
	h.SetRequestURIBytes(c.target)
	h.SetHost(e.host)
	known := c.op.HasModel()
	named := from.PeekAll("Connection")
	var room [maxName]byte
	for key, value := range from.All() {
		name := lower(&room, key)
		if !sendable(name, known) || c.p.sets(name) || lists(named, key) {
			continue
		}
		h.AddBytesKV(key, value)
	}
	if known {
		h.Set("Accept-Encoding", "identity")
		if !isJSON(h.ContentType()) {
			h.SetContentType("application/json")
		}
	}
	if len(h.UserAgent()) == 0 {
		h.SetUserAgent("headrace")
	}
	for i := range c.p.sent {
		f := &c.p.sent[i]
		h.SetBytesV(f.name, f.value)
	}
}

// requestLines does what requestHeader does, for a transport that takes the fields as
// lines: most of them pass from one request into the other as they are, and what is
// the same for all requests was written once.
func (c *call) requestLines(from *fasthttp.RequestHeader, e *endpoint) {
	h := &c.req.Header
	h.SetMethodBytes(from.Method())
	h.SetRequestURIBytes(c.target)
	if string(h.Host()) != e.host {
		h.SetHost(e.host)
	}
	known := c.op.HasModel()
	named := from.PeekAll("Connection")
	typed, agent := false, false
	b := c.lines[:0]
	var room [maxName]byte
	for key, value := range from.All() {
		name := lower(&room, key)
		if !sendable(name, known) || c.p.sets(name) || lists(named, key) {
			continue
		}
		switch string(name) {
		case "content-type":
			if known && !isJSON(value) {
				continue
			}
			typed = true
		case "user-agent":
			agent = true
		}
		b = appendLine(b, key, value)
	}
	if known {
		b = append(b, "Accept-Encoding: identity\r\n"...)
		if !typed && !c.p.sets(contentType) {
			b = append(b, "Content-Type: application/json\r\n"...)
		}
	}
	if !agent && !c.p.sets(userAgent) {
		b = append(b, "User-Agent: headrace\r\n"...)
	}
	c.lines = append(b, c.p.always...)
}

var contentType, userAgent = []byte("content-type"), []byte("user-agent")

func appendLine[T string | []byte](b []byte, name T, value []byte) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

// constant is what the settings set, as lines.
func (p *provider) constant() []byte {
	var b []byte
	for _, f := range p.sent {
		b = appendLine(b, f.name, f.value)
	}
	return b
}

// sets reports whether the settings set the field, whose name is in lower case.
func (p *provider) sets(name []byte) bool {
	for i := range p.sent {
		if fits(name, p.sent[i].name) {
			return true
		}
	}
	return false
}

// fits reports whether name, in lower case, is want in any case.
func fits(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		w := want[i]
		if 'A' <= w && w <= 'Z' {
			w += 'a' - 'A'
		}
		if c != w {
			return false
		}
	}
	return true
}

// lists reports whether one of the Connection fields names key. What the settings
// set is added afterwards, so no client can name that.
func lists(named [][]byte, key []byte) bool {
	for _, value := range named {
		for len(value) > 0 {
			var option []byte
			option, value, _ = bytes.Cut(value, comma)
			if bytes.EqualFold(bytes.TrimSpace(option), key) {
				return true
			}
		}
	}
	return false
}

var comma = []byte{','}

// cleanHeader removes from the upstream's header what the client must not see.
func (c *call) cleanHeader(h *fasthttp.ResponseHeader) {
	known := c.op.HasModel()
	var room [maxName]byte
	for {
		found := false
		for key, value := range h.All() {
			// What begins as a name that is kept back is one, however long it is.
			if name := lower(&room, key[:min(len(key), maxName)]); !passable(name, known) || c.p.quoted(value) {
				c.name, found = append(c.name[:0], key...), true
				break
			}
		}
		if !found {
			return
		}
		h.DelBytes(c.name)
	}
}

// quoted reports whether value holds a secret of the gateway, which an upstream has sent
// back under a name that nobody would look for it.
func (p *provider) quoted(value []byte) bool {
	for _, secret := range p.secrets {
		if len(value) >= len(secret) && bytes.Contains(value, secret) {
			return true
		}
	}
	return false
}

// retryAfter makes sure that an error's Retry-After can be understood: LiteLLM passes
// an upstream's on under another name.
func retryAfter(h *fasthttp.ResponseHeader) {
	value := h.Peek("Retry-After")
	if len(value) == 0 {
		value = h.Peek("Llm_provider-Retry-After")
	}
	if len(value) == 0 {
		return
	}
	if _, err := time.Parse(time.RFC1123, string(value)); err != nil && !isSeconds(value) {
		h.Del("Retry-After")
		return
	}
	h.SetBytesV("Retry-After", slices.Clone(value))
}

// isSeconds reports whether value is a number of seconds, perhaps with a fraction.
func isSeconds(value []byte) bool {
	digits := 0
	for i, c := range value {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case c != '.' || i == 0:
			return false
		}
	}
	return digits > 0 && digits < 10
}

// isJSON reports whether a content type is JSON.
func isJSON(contentType []byte) bool { return typeIs(contentType, "application/json") }

// isEvents reports whether a content type is that of server-sent events.
func isEvents(contentType []byte) bool { return typeIs(contentType, "text/event-stream") }

// typeIs reports whether a content type, whatever its parameters, is want.
func typeIs(contentType []byte, want string) bool {
	contentType, _, _ = bytes.Cut(contentType, []byte(";"))
	contentType = bytes.TrimSpace(contentType)
	return len(contentType) == len(want) && strings.EqualFold(string(contentType), want)
}
