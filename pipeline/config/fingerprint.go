package config

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"
	"os"
	"reflect"
	"slices"
)

// fingerprint digests everything about u that Build can see, apart from the
// targets: which component it is, its settings, and the same of what it needs.
func fingerprint(u *unit) (sum [sha256.Size]byte) {
	d := digest{Hash: sha256.New()}
	d.text(u.comp.name)
	d.text(u.settings.Type().PkgPath())
	d.text(u.settings.Type().String())
	d.value(u.settings, 0)
	if f, ok := u.settings.Interface().(interface{ Files() []string }); ok {
		for _, name := range f.Files() {
			content, _ := os.ReadFile(name) // Build will say what is wrong with it
			d.text(string(content))
		}
	}
	for _, r := range u.refs {
		d.text(r.name)
	}
	for _, n := range u.needs {
		d.Write(n.sum[:])
	}
	d.Sum(sum[:0])
	return sum
}

type digest struct {
	hash.Hash
}

func (d digest) number(n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	d.Write(b[:])
}

func (d digest) text(s string) {
	d.number(uint64(len(s)))
	d.Write([]byte(s))
}

// value digests v with everything in it, unexported fields too. A stage or a
// function in it counts by its presence alone: what a file can say about a
// stage is digested with the stage.
func (d digest) value(v reflect.Value, depth int) {
	if depth > 100 { // a cycle, which settings read from a file cannot have
		return
	}
	d.number(uint64(v.Kind()))
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			d.number(1)
		} else {
			d.number(0)
		}
	case reflect.String:
		d.text(v.String())
	case reflect.Struct:
		for i := range v.NumField() {
			d.value(v.Field(i), depth+1)
		}
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.IsNil() {
			d.number(math.MaxUint64)
			return
		}
		d.number(uint64(v.Len()))
		for i := range v.Len() {
			d.value(v.Index(i), depth+1)
		}
	case reflect.Map:
		d.mapping(v, depth)
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() || v.Type().Implements(handlerType) {
			d.number(0)
			return
		}
		d.number(1)
		d.text(v.Elem().Type().String())
		d.value(v.Elem(), depth+1)
	default:
		switch {
		case v.CanInt():
			d.number(uint64(v.Int()))
		case v.CanUint():
			d.number(v.Uint())
		case v.CanFloat():
			d.number(math.Float64bits(v.Float()))
		}
	}
}

// mapping digests the entries of a map in an order that does not change.
func (d digest) mapping(v reflect.Value, depth int) {
	d.number(uint64(v.Len()))
	sums := make([][sha256.Size]byte, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		e := digest{Hash: sha256.New()}
		e.value(it.Key(), depth+1)
		e.value(it.Value(), depth+1)
		sums = append(sums, [sha256.Size]byte(e.Sum(nil)))
	}
	slices.SortFunc(sums, func(a, b [sha256.Size]byte) int { return slices.Compare(a[:], b[:]) })
	for _, s := range sums {
		d.Write(s[:])
	}
}
