package payload

import (
	"encoding/json"
	"testing"
)

func TestBodies(t *testing.T) {
	f := func(body []byte, size int) {
		t.Helper()
		if !json.Valid(body) {
			t.Fatalf("no JSON: %.300s", body)
		}
		if size > 0 && len(body) != size {
			t.Errorf("%d bytes, want %d", len(body), size)
		}
		at := Reference(body)
		if at < 0 {
			t.Fatalf("no reference in %.300s", body)
		}
		PutReference(body[at:], 0xfedc_0000_0000_0042)
		if !json.Valid(body) {
			t.Error("no JSON with another reference")
		}
		n, err := ParseReference(body[Reference(body):])
		if err != nil || n != 0xfedc_0000_0000_0042 {
			t.Errorf("reference %x, %v", n, err)
		}
	}
	f(Chat(1<<10, false), 1<<10)
	f(Chat(1<<10, true), 1<<10)
	f(Chat(20<<10, false), 20<<10)
	f(Chat(20<<10+1, true), 20<<10+1)
	f(Chat(1, false), 0)
	f(Image(1<<20), 0)
	f(Embeddings(), 0)
	for _, path := range []string{"/embed", "/rerank", "/search", "/retrieve", "/graph/extract"} {
		f(Service(path), 0)
	}
	if Service("/nothing") != nil {
		t.Error("a request to nothing")
	}
	var index struct{ Chunks []struct{ Text string } }
	if err := json.Unmarshal(Chunks(300), &index); err != nil || len(index.Chunks) != 300 || index.Chunks[1].Text == index.Chunks[5].Text {
		t.Errorf("%d passages, %v", len(index.Chunks), err)
	}
	for size := 2 << 10; size < 4<<10; size++ { // every place where a turn may end
		if b := Chat(size, false); len(b) != size || !json.Valid(b) {
			t.Fatalf("size %d: %d bytes, valid %v", size, len(b), json.Valid(b))
		}
	}
}
