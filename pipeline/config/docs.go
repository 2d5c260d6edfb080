package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Docs returns the reference of the components called name, in Markdown; that of
// one of the sections server, models and routes; that of everything if name is
// empty; and "" if there is no such name.
func Docs(reg Registry, name string) string {
	var b strings.Builder
	for _, s := range builtin() {
		if name == "" || name == s.name {
			s.known = reg
			s.write(&b)
		}
	}
	for _, section := range []string{inChains, inProviders, inStores} {
		for _, n := range reg.names(section) {
			if name != "" && name != n {
				continue
			}
			c, _ := reg.find(section, n)
			d, _ := describe(c.src) // what cannot be read is left out
			article{c.name, c.Kind(), c.defaults, d, reg}.write(&b)
		}
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// An article is one part of the reference.
type article struct {
	name, kind string
	defaults   reflect.Value
	*describer
	known Registry // what settings can refer to
}

// builtin returns the sections of a file that no component defines.
func builtin() []article {
	server, _ := describe(serverSource)
	spec, _ := describe(specSource)
	return []article{
		{"server", "section", reflect.ValueOf(DefaultServer()), server, nil},
		{"models", "section: a mapping from names to models", reflect.ValueOf(modelSpec{}), spec, nil},
		{"routes", "section: a list of routes", reflect.ValueOf(routeSpec{}), spec, nil},
	}
}

// write appends the part as Markdown.
func (a article) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n*%s*\n\n%s\n", a.name, a.kind, a.summary(a.defaults.Type(), a.name))
	rows := a.rows(a.defaults.Type(), a.defaults, "", nil)
	if len(rows) == 0 {
		b.WriteString("\nIt has no settings.\n")
		return
	}
	b.WriteString("\n| setting | type | default | allowed | meaning |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		for i, cell := range r {
			r[i] = strings.NewReplacer("|", `\|`, "\n\n", "<br>", "\n", " ").Replace(cell)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", r[0], r[1], r[2], r[3], r[4])
	}
}

// rows returns one row per setting, those of nested settings behind their own.
func (a article) rows(t reflect.Type, defaults reflect.Value, prefix string, within []reflect.Type) [][5]string {
	if slices.Contains(within, t) {
		return nil
	}
	var out [][5]string
	for _, f := range fieldsOf(t) {
		var v reflect.Value
		if defaults.IsValid() {
			v = defaults.FieldByIndex(f.index)
		}
		shown := ""
		if w := written(v); w != nil && w != false {
			text, err := json.Marshal(w)
			if err == nil {
				shown = "`" + strings.Trim(string(text), `"`) + "`"
			}
		}
		out = append(out, [5]string{prefix + f.key, a.typeWords(f.typ), shown, f.check.words(f.typ), a.field(f)})
		inner, nested, dflt := f.typ, prefix+f.key, v
		for {
			switch inner.Kind() {
			case reflect.Pointer:
				inner, dflt = inner.Elem(), reflect.Value{}
				continue
			case reflect.Slice:
				if inner != chainType {
					inner, nested, dflt = inner.Elem(), nested+"[]", reflect.Value{}
					continue
				}
			case reflect.Map:
				inner, nested, dflt = inner.Elem(), nested+".*", reflect.Value{}
				continue
			}
			break
		}
		if isSettings(inner) {
			out = append(out, a.rows(inner, dflt, nested+".", append(within, t))...)
		}
	}
	return out
}

// typeWords says what may be written for a type: of a reference also which components
// it can be to.
func (a article) typeWords(t reflect.Type) string {
	words := typeWords(t)
	if !reflect.PointerTo(t).Implements(refType) {
		return words
	}
	want, names := reflect.New(t).Interface().(reference).wants(), []string(nil)
	for _, c := range a.known {
		if c.iface.AssignableTo(want) {
			names = append(names, c.name)
		}
	}
	if len(names) == 0 {
		return words
	}
	slices.Sort(names)
	return words + " (" + strings.Join(slices.Compact(names), ", ") + ")"
}

// isSettings reports whether t is a struct that is written as a mapping of its
// fields.
func isSettings(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return t.Kind() == reflect.Struct && t != eachType && !p.Implements(refType) && !p.Implements(textType)
}

// words says what the rules ask for, for people.
func (r rules) words(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		return r.words(t.Elem())
	}
	var out []string
	low, high := boundWords(t, r.min), boundWords(t, r.max)
	if r.required {
		out = append(out, "required")
	}
	switch {
	case r.min != "" && r.max != "":
		out = append(out, strings.TrimSuffix(low, characters)+" to "+high)
	case r.min != "":
		out = append(out, "at least "+low)
	case r.max != "":
		out = append(out, "at most "+high)
	}
	if len(r.enum) > 0 {
		out = append(out, "one of "+strings.Join(r.enum, ", "))
	}
	return strings.Join(out, "; ")
}
