package pipeline

import (
	"strings"
	"testing"
)

func TestPointID(t *testing.T) {
	// Ids are on disks: this one never changes.
	if id := PointID("acme", "kb", "manual", "intro", 0); id != "0ecf409a-13c2-569c-8801-a43ac8fa0cdf" {
		t.Errorf("id is %s", id)
	}
	if PointID("t", "c", "d", "x", 1) != PointID("t", "c", "d", "x", 2) {
		t.Error("the index counts beside a chunk id")
	}
	seen := map[string]string{}
	f := func(tenant, collection, doc, chunk string, index int) {
		t.Helper()
		id := PointID(tenant, collection, doc, chunk, index)
		if len(id) != 36 || id[14] != '5' || id != strings.ToLower(id) {
			t.Errorf("%s is not a UUID of version 5 in lower case", id)
		}
		what := strings.Join([]string{tenant, collection, doc, chunk, string(rune('0' + index))}, "/")
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %q share an id", what, other)
		}
		seen[id] = what
	}
	f("t", "c", "d", "", 0)
	f("t", "c", "d", "", 1)
	f("t", "c", "d", "0", 0)
	f("t", "c", "d", "1", 0)
	f("t", "c|d", "", "1", 0)
	f("t|c", "d", "", "1", 0)
	f("tc", "", "d", "1", 0)
	f("", "tc", "d", "1", 0)
	f("t\x00c", "", "d", "1", 0)
	f("t", "\x00c", "d", "1", 0)
}
