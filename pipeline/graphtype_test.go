package pipeline

import (
	"strings"
	"testing"
)

func TestTypes(t *testing.T) {
	check := func(name string) error {
		w := GraphWrite{Entities: []Entity{{ID: "a"}, {ID: "b", Type: GenericType}}, Relations: []Relation{{Src: "a", Dst: "b", Type: name}}}
		return w.Check()
	}
	for _, name := range []string{"Person", "_x", "EMPLOYED_AT", "人物", "a1²", "é", strings.Repeat("公", 64)} {
		if err := check(name); err != nil {
			t.Errorf("%q is refused: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "1a", "a b", "a-b", "a`b", "a\\u0060b", "a\n", "a\x00", "a\xff", "e\u0301", "Chunk", "Document", "Entity", "__x", strings.Repeat("公", 65),
		"X`) DETACH DELETE n //",
	} {
		if check(name) == nil {
			t.Errorf("%q is let through", name)
		}
	}
}

func TestTypeOf(t *testing.T) {
	f := func(words, want string) {
		t.Helper()
		got := TypeOf(words)
		if got != want {
			t.Errorf("%q: %q; want %q", words, got, want)
		}
		if got != "" && !isType(got) {
			t.Errorf("%q: %q is no type", words, got)
		}
	}
	f("EMPLOYED_AT", "EMPLOYED_AT")
	f("real estate", "real_estate")
	f(" works -- at! ", "works_at")
	f("人物", "人物")
	f("_x", "_x")
	f("e\u0301tat civil", "etat_civil")
	f("2nd half", "_2nd_half")
	f("__x", "x")
	f("Document", "Document_")
	f("Entity", "Entity_")
	f("a\xffb", "a_b")
	f("X`) DETACH DELETE n //", "X_DETACH_DELETE_n")
	f("--", "")
	f("", "")
	f(strings.Repeat("公", 99), strings.Repeat("公", 63))
	f(strings.Repeat("a ", 99), strings.TrimSuffix(strings.Repeat("a_", 32), "_"))
}
