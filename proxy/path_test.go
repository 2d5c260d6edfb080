package proxy

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
)

// FuzzCanonical needs a path that was let through to have one reading: reading it
// again changes nothing, and a server that decodes it finds no other place.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{
		"/v1/chat/completions?a=b", "/chat/completions/", "http://a/v1/models/x%2Fy?z", "/v1/%63hat/completions", "/v1/models/../files", "*",
		"/openai/deployments/a%2Fb/chat/completions?api-version=1", "/openai/v1/files", "/engines/m/embeddings", "/v1/v1/v1/files", "/v1/v2/rerank", "/v1/files/%2e%2e", "/v1/a%5cb",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, uri []byte) {
		var head framing
		if head.requestLine(append(append([]byte("OPTIONS "), uri...), " HTTP/1.1"...)) != nil {
			return // the server does not see it
		}
		before := bytes.Clone(uri)
		got, err := canonical(uri)
		if err != nil {
			return
		}
		got.complete()
		if !bytes.Equal(uri, before) {
			t.Fatalf("%q was written into: %q", before, uri)
		}
		again, err := canonical(got.path)
		if err != nil || !bytes.Equal(again.path, got.path) || again.op != got.op {
			t.Fatalf("%q is %q (%s), and then %q (%s), %v", uri, got.path, got.op, again.path, again.op, err)
		}
		plain, err := url.PathUnescape(string(got.path))
		if err != nil {
			t.Fatalf("%q: %v", got.path, err)
		}
		for part := range strings.SplitSeq(plain, "/") {
			if part != "" && strings.Trim(part, ".") == "" {
				t.Fatalf("%q leads to %q", uri, plain)
			}
		}
	})
}
