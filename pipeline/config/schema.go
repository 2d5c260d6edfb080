package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// Schema returns a JSON Schema (draft 2020-12) of a file that uses the
// components of reg, for editors. It is looser than Load where a schema cannot
// say what Load knows: which names there are, and what a variable holds.
func Schema(reg Registry) []byte {
	s := &schema{reg: reg, defs: object{}}
	text, err := json.MarshalIndent(s.file(), "", "  ")
	if err != nil {
		panic("BUG: schema: " + err.Error())
	}
	return text
}

type object = map[string]any

type schema struct {
	reg  Registry
	defs object
	*describer
}

func ref(def string) object { return object{"$ref": "#/$defs/" + def} }

// variable is a scalar whose value is not known until the file is loaded.
var variable = object{"type": "string", "pattern": `\$\{`}

func (s *schema) file() object {
	s.describer, _ = describe(serverSource)
	server := s.settings(reflect.TypeFor[Server](), reflect.ValueOf(DefaultServer()))
	server["description"] = "How the gateway listens, and the limits and timeouts that protect it from its clients."
	s.describer, _ = describe(specSource)
	s.defs["targets"] = object{"type": []string{"array", "null"}, "items": s.settings(reflect.TypeFor[targetSpec](), reflect.Value{})}
	model := s.settings(reflect.TypeFor[modelSpec](), reflect.Value{})
	route := s.settings(reflect.TypeFor[routeSpec](), reflect.Value{})
	s.components()
	named := func(items object, description string) object {
		return object{"type": []string{"object", "null"}, "additionalProperties": items, "description": description}
	}
	return object{
		"$schema":           "https://json-schema.org/draft/2020-12/schema",
		"title":             "Headrace configuration",
		"type":              "object",
		"required":          []string{"routes"},
		"patternProperties": object{"^x-": object{"description": "Free for anchors; not read."}},
		"properties": object{
			"server":    server,
			"before":    describedAs(ref("chain"), "Stages that run before every route: the place for authentication."),
			inProviders: named(ref(inProviders), "What can be called, by names of your choice."),
			inStores:    named(ref(inStores), "What keeps or finds things, by names of your choice."),
			"models":    named(object{"anyOf": []any{ref("targets"), model}}, "The names that clients may ask for, and what answers to them."),
			inChains:    named(ref("chain"), "Chains that models and stages name."),
			"routes":    object{"type": "array", "items": route, "description": "Which requests take which chain, in this order."},
		},
		"additionalProperties": false,
		"$defs":                s.defs,
	}
}

// components defines the entries of all sections.
func (s *schema) components() {
	for _, section := range []string{inChains, inProviders, inStores} {
		entry := object{}
		for _, name := range s.reg.names(section) {
			c, _ := s.reg.find(section, name)
			s.describer, _ = describe(c.src)
			def := section + "." + name
			settings := s.settings(c.defaults.Type(), c.defaults)
			settings["type"] = []string{"object", "null"}
			settings["description"] = s.summary(c.defaults.Type(), name)
			s.defs[def] = settings
			entry[name] = ref(def)
		}
		entry["when"] = object{"description": "Switches the entry off if its value is empty, false, off, no or 0."}
		entry["unless"] = object{"description": "Switches the entry off if its value is anything else."}
		one := object{"type": "object", "properties": entry, "additionalProperties": false, "minProperties": 1, "maxProperties": 3}
		if section != inChains {
			s.defs[section] = object{"anyOf": []any{one, object{"enum": s.reg.names(section)}}}
			continue
		}
		entry[chainStage] = object{"type": "string", "description": "Stands for the stages of a named chain."}
		s.defs["stage"] = object{"anyOf": []any{one, object{"enum": s.reg.names(section)}}}
		s.defs["chain"] = object{"type": []string{"array", "null"}, "items": ref("stage")}
	}
}

func describedAs(o object, description string) object {
	o["description"] = description
	return o
}

// settings describes a struct.
func (s *schema) settings(t reflect.Type, defaults reflect.Value) object {
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		var v reflect.Value
		if defaults.IsValid() {
			v = defaults.FieldByIndex(f.index)
		}
		p := s.typ(f.typ, f.check, v)
		if said := s.field(f); said != "" {
			p["description"] = said
		}
		if w := written(v); w != nil {
			p["default"] = w
		}
		properties[f.key] = p
		if f.check.required && (!v.IsValid() || v.IsZero()) {
			required = append(required, f.key)
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		slices.Sort(required)
		o["required"] = required
	}
	return o
}

const (
	durationPattern = `^([+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$|^0$`
	sizePattern     = `^[0-9]+(\.[0-9]*)? *([KMGT]iB|[kKMGT]B|B)?$`
	ratioPattern    = `^[0-9]+(\.[0-9]*)? *%?$|^\.[0-9]+ *%?$`
)

// typ describes a type under its rules. The result may be added to.
func (s *schema) typ(t reflect.Type, r rules, defaults reflect.Value) object {
	p := reflect.PointerTo(t)
	switch {
	case p.Implements(refType):
		return object{"type": "string"}
	case t == chainType, t == eachType:
		return ref("chain")
	case t == durationType:
		return either(object{"type": "string", "pattern": durationPattern}, object{"const": 0})
	case t == reflect.TypeFor[Size]():
		return either(object{"type": "string", "pattern": sizePattern}, object{"type": "integer", "minimum": 0})
	case t == reflect.TypeFor[Ratio]():
		return either(object{"type": "string", "pattern": ratioPattern}, object{"type": "number", "minimum": 0, "maximum": 1})
	case p.Implements(textType):
		return object{"type": []string{"string", "number", "boolean"}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.typ(t.Elem(), r, reflect.Value{})
	case reflect.Slice:
		o := object{"type": "array", "items": s.typ(t.Elem(), rules{}, reflect.Value{})}
		limit(o, r, "minItems", "maxItems")
		return o
	case reflect.Map:
		o := object{"type": "object", "additionalProperties": s.typ(t.Elem(), rules{}, reflect.Value{})}
		limit(o, r, "minProperties", "maxProperties")
		return o
	case reflect.Struct:
		return s.settings(t, defaults)
	case reflect.Bool:
		return either(object{"type": "boolean"})
	case reflect.String:
		if len(r.enum) > 0 {
			return either(object{"enum": r.enum})
		}
		o := object{"type": []string{"string", "number", "boolean"}}
		if r.min != "" || r.max != "" {
			limit(o, r, "minLength", "maxLength")
			return either(o)
		}
		return o
	}
	o := object{"type": "integer"}
	if t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64 {
		o["type"] = "number"
	}
	limit(o, r, "minimum", "maximum")
	return either(o)
}

// either lets a scalar be one of several, or a variable.
func either(all ...object) object {
	return object{"anyOf": append(slices.Clip(all), variable)}
}

// limit adds the bounds of r.
func limit(o object, r rules, low, high string) {
	for key, text := range map[string]string{low: r.min, high: r.max} {
		if text == "" {
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			panic(fmt.Sprintf("BUG: check: bound %q: %v", text, err))
		}
		o[key] = n
	}
}
