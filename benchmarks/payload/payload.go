// Package payload makes the request bodies of the benchmarks: chat requests
// that look like real ones, of any size.
package payload

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Mark stands in every chat body before a reference of ReferenceLen digits.
// The load generator writes another reference into each request, so that no
// cache can know it, and the mock upstream finds a request by it.
const (
	Mark         = "ticket "
	ReferenceLen = 16
)

const system = `You are a careful assistant for the support desk of a software company. Answer in short paragraphs, cite the section of the manual you rely on, and say so when you do not know.`

// The turns hold what prompts hold: line breaks, quotes, a little code and
// letters beyond ASCII.
var turns = [...]string{
	`A customer writes: after the update to version 4.2 the export job stops at 37 percent and the log shows \"timeout on worker 2\". They run three workers on two hosts; the queue is on the first host, the disk of the second is 91 % full.\nWhat should they check next, and in which order? `,
	`First compare the limits in section 7.3: a worker gives up after 30 seconds without a heartbeat, and a full disk delays exactly that.\n\n1. Free space below /var/lib/export.\n2. Run export status --workers and look for the state \"waiting\".\n3. Raise heartbeat_timeout only if both are fine. `,
	`They cleared the folder, and Frau Müller reports that the message is now:\n\n\terror: lock held by pid 4711 (started 12:03)\n\nMay they delete the lock while the job is running? Please answer in under 150 words. `,
	`No. The lock protects the index, see section 9.1. Stop worker 2, wait for the queue to show 0 open parts, then delete the lock and start the worker again. The other workers may go on meanwhile. `,
}

// Chat returns a chat completion request of exactly size bytes, or the
// shortest there is. A longer one is a longer conversation.
func Chat(size int, stream bool) []byte {
	tail := `"}],"temperature":0.2,"max_tokens":256,"user":"desk-42"`
	if stream {
		tail += `,"stream":true,"stream_options":{"include_usage":true}`
	}
	tail += "}"
	var b bytes.Buffer
	b.WriteString(`{"model":"gpt-4o-mini","messages":[{"role":"system","content":"` + system + `"},{"role":"user","content":"` + Mark + strings.Repeat("0", ReferenceLen) + `: `)
	next := `"},{"role":"assistant","content":"`
	after := `"},{"role":"user","content":"`
	for i := 0; ; i++ {
		turn := turns[i%len(turns)]
		if left := size - b.Len() - len(tail); len(turn)+len(next) > left {
			b.WriteString(strings.Repeat("x ", max(left, 0)/2+1)[:max(left, 0)])
			break
		}
		b.WriteString(turn)
		b.WriteString(next)
		next, after = after, next
	}
	b.WriteString(tail)
	return b.Bytes()
}

// Image returns a chat completion request of about size bytes, nearly all of
// them an image in base64.
func Image(size int) []byte {
	var b bytes.Buffer
	b.Grow(size + 1024)
	b.WriteString(`{"model":"gpt-4o-mini","messages":[{"role":"user","content":[{"type":"text","text":"` + Mark + strings.Repeat("0", ReferenceLen) + `: what is on this screenshot?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,`)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for b.Len() < size {
		b.WriteString(letters)
	}
	b.WriteString(`"}}]}],"max_tokens":256}`)
	return b.Bytes()
}

// Embeddings returns an embeddings request for one text.
func Embeddings() []byte {
	return []byte(`{"model":"text-embedding-3-small","input":"` + Mark + strings.Repeat("0", ReferenceLen) + `: the export job stops at 37 percent"}`)
}

// Service returns a request to an endpoint of the service that Headrace replaces,
// or nil if there is none.
func Service(path string) []byte {
	const question = Mark + "0000000000000000: why does the export job stop at 37 percent?"
	switch path {
	case "/embed":
		return []byte(`{"texts":["` + question + `"]}`)
	case "/rerank":
		return []byte(`{"query":"` + question + `","top_n":5,"documents":["` + strings.Join(turns[:], `","`) + `","` + strings.Join(turns[:], `","`) + `"]}`)
	case "/search":
		return []byte(`{"query":"` + question + `","top_k":5}`)
	case "/search by meaning":
		return []byte(`{"query":"` + question + `","top_k":5,"mode":"dense"}`)
	case "/retrieve":
		return []byte(`{"query":"` + question + `","top_k":5,"include_subgraph":true,"max_hops":1}`)
	case "/retrieve by meaning":
		return []byte(`{"query":"` + question + `","top_k":5,"include_subgraph":true,"max_hops":1,"mode":"dense"}`)
	case "/graph/query":
		return []byte(`{"query":"MATCH (e:Entity) WHERE e.norm = $name RETURN e.name AS name LIMIT 5","params":{"name":"` + question + `"}}`)
	case "/graph/extract":
		return []byte(`{"context":"` + question + ` Bob joined Acme.","min_nodes":1,"min_edges":1,"provider_chain":["graph-300ms","graph-100ms","graph-2s"]}`)
	}
	return nil
}

// Passage is the text of one of the passages that searches are to find. Each has words
// of its own and shares some with many.
func Passage(i int) string {
	words := strings.Fields(turns[i%len(turns)])
	return fmt.Sprintf("Section %d.%d. Setting part%d to %d changes how job%d ends. %s", i/10, i%10, i, i*7%100, i%211, strings.Join(words[:8+i%16], " "))
}

// Chunks returns a request to index the first n passages, each with two entities that it
// shares with others.
func Chunks(n int) []byte {
	b := []byte(`{"chunks":[`)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"doc_id":"manual-%d","text":"%s","entities":["worker %d","queue %d"]}`, i/10, Passage(i), i%100, i%37)
	}
	return append(b, "]}"...)
}

// Reference returns where the reference begins in b, or -1.
func Reference(b []byte) int {
	at := bytes.Index(b, []byte(Mark))
	if at < 0 || at+len(Mark)+ReferenceLen > len(b) {
		return -1
	}
	return at + len(Mark)
}

// PutReference writes n over the reference that begins at b[0].
func PutReference(b []byte, n uint64) {
	const digits = "0123456789abcdef"
	for i := ReferenceLen - 1; i >= 0; i-- {
		b[i] = digits[n&15]
		n >>= 4
	}
}

// ParseReference reads what PutReference wrote.
func ParseReference(b []byte) (uint64, error) {
	return strconv.ParseUint(string(b[:ReferenceLen]), 16, 64)
}
