// Package chat reads and edits the JSON bodies of the OpenAI interface without
// decoding them.
//
// One validating pass records where the top-level members are; everything else
// is done on the bytes as they were sent, so that nothing gets lost that this
// program does not know. Edits are splices. Nothing here allocates once the
// memory of a reused Request has grown to size.
//
// What is accepted is stricter than RFC 8259, so that no two readers can see
// different requests in one body: see Request.Scan.
package chat

// maxMembers bounds the top level of a body. OpenAI has some 60 parameters.
const maxMembers = 1024

// A Request is a JSON object that has been scanned: a request, or any other
// object. The zero value is an empty object without members, and Scan makes it
// describe another. What methods return points into the scanned body or into
// the Request's own memory: it is read only, and valid until the next Scan.
//
// After Scan the methods that only look may be called concurrently. Digest,
// Messages and Items use memory of the Request and may not.
type Request struct {
	body    []byte
	open    int // index of the opening brace
	members []member
	index   index
	arena   []byte // keys, and the model's name, that were written with escapes
	model   span   // in body, or in arena
	owned   bool   // model is in arena
	stream  bool

	digest digest
	list   Messages
}

type span struct{ from, to int }

// A member is one key and its value at the top level.
type member struct {
	at     int  // index of the key's opening quote
	name   span // the key, unescaped; in body, or in arena
	value  span
	hash   uint64
	owned  bool // name is in arena
	spaced bool // the value holds white space outside strings
}

// Scan makes r describe the JSON object b, which must not change while r is
// used. It returns nil, or an *Error if b breaks one of these rules, and then r
// is as good as empty:
//
//   - b is one JSON object by RFC 8259, in valid UTF-8, without a byte order
//     mark; white space may surround it and nothing else may;
//   - objects and arrays are nested at most 64 deep;
//   - the object has at most 1024 members and no two with the same key, even
//     if one is written with escapes;
//   - no key differs only by case from a parameter of the OpenAI interface.
//
// Numbers may be of any size, strings may hold escapes for halves of surrogate
// pairs, and objects further inside may repeat keys.
func (r *Request) Scan(b []byte) error {
	r.reset(b)
	if err := r.scan(b); err != nil {
		r.reset(nil)
		return err.locate(b)
	}
	return nil
}

// reset forgets the last body, and memory that only an unusual body needs.
func (r *Request) reset(b []byte) {
	const usual = 64
	if cap(r.members) > usual {
		r.members = nil
	}
	if cap(r.arena) > 16<<10 {
		r.arena = nil
	}
	if cap(r.list.list) > usual {
		r.list.list = nil
	}
	r.body, r.members, r.arena = b, r.members[:0], r.arena[:0]
	r.open, r.model, r.owned, r.stream = 0, span{-1, -1}, false, false
	r.list.parsed = false
	r.index.reset()
}

func (r *Request) scan(b []byte) *Error {
	s := scanner{b: b}
	if s.space(); s.i >= len(b) || b[s.i] != '{' {
		return unexpected(b, s.i, "an object; the body must begin with {")
	}
	r.open = s.i
	s.i++
	if s.next('}') {
		return s.end()
	}
	for {
		if err := r.member(&s); err != nil {
			return err
		}
		more, ok := s.more('}')
		if !ok {
			return unexpected(b, s.i, "a comma or }")
		}
		if !more {
			return s.end()
		}
	}
}

// member reads and records one top-level member.
func (r *Request) member(s *scanner) *Error {
	s.space()
	at := s.i
	if err := s.key(); err != nil {
		return err
	}
	// s.escaped is the key's: nothing but a colon followed.
	key := span{at + 1, closing(s.b, s.i)}
	m := member{at: at, name: key}
	if s.escaped {
		m.name.from, m.owned = len(r.arena), true
		r.arena = appendUnescaped(r.arena, s.b[key.from:key.to], true)
		m.name.to = len(r.arena)
	}
	if err := r.admit(m); err != nil {
		return err
	}
	s.space()
	m.value.from, s.spaced = s.i, false
	if err := s.value(1); err != nil {
		err.Param = shorten(r.key(&m))
		return err
	}
	m.value.to, m.spaced = s.i, s.spaced
	last := &r.members[len(r.members)-1]
	last.value, last.spaced = m.value, m.spaced
	r.note(last, s.escaped)
	return nil
}

// closing is the index of the quote that closes the key whose colon precedes i.
func closing(b []byte, i int) int {
	for i--; b[i] != '"'; i-- {
		continue
	}
	return i
}

// admit adds a member whose value is still to be read, if its key may stand.
func (r *Request) admit(m member) *Error {
	key := r.key(&m)
	if len(r.members) == maxMembers {
		return fail(m.at, "too many members: an object may have 1024 at the top level")
	}
	r.members = append(r.members, m)
	if !r.enter() {
		e := fail(m.at, "duplicate key "+quoteKey(key)+": send each top-level key once")
		e.Param = shorten(key)
		return e
	}
	if known, ok := disguised(key); ok {
		e := fail(m.at, "unknown key "+quoteKey(key)+`: keys are case-sensitive; write "`+known+`"`)
		e.Param = shorten(key)
		return e
	}
	return nil
}

// note keeps what every request is asked for.
func (r *Request) note(m *member, escaped bool) {
	v := r.body[m.value.from:m.value.to]
	switch string(r.key(m)) {
	case "stream":
		r.stream = v[0] == 't'
	case "model":
		if v[0] != '"' {
			return
		}
		r.model, r.owned = span{m.value.from + 1, m.value.to - 1}, false
		if escaped {
			r.model.from, r.owned = len(r.arena), true
			r.arena = appendUnescaped(r.arena, v[1:len(v)-1], false)
			r.model.to = len(r.arena)
		}
	}
}

// slice cuts s out of the arena or the body. Appending to it copies it.
func (r *Request) slice(s span, owned bool) []byte {
	b := r.body
	if owned {
		b = r.arena
	}
	return b[s.from:s.to:s.to]
}

func (r *Request) key(m *member) []byte { return r.slice(m.name, m.owned) }

// Model returns the value of "model", unescaped. It is nil if there is none or
// if it is not a string; Member tells the two apart.
func (r *Request) Model() []byte {
	if r.body == nil || r.model.from < 0 {
		return nil
	}
	return r.slice(r.model, r.owned)
}

// Stream reports whether "stream" is true.
func (r *Request) Stream() bool { return r.stream }

// Member returns the value of a top-level member as it was written.
func (r *Request) Member(key string) (raw []byte, ok bool) {
	n := r.find(key)
	if n < 0 {
		return nil, false
	}
	return r.slice(r.members[n].value, false), true
}

// Len is how many members the object has.
func (r *Request) Len() int { return len(r.members) }

// At returns the i-th member in the order written: the key unescaped, the value
// as written. A key that holds half of a surrogate pair has it in three bytes,
// as AppendString takes it.
func (r *Request) At(i int) (key, raw []byte) {
	m := &r.members[i]
	return r.key(m), r.slice(m.value, false)
}

// Valid reports how b fails to be one JSON value, of any kind, by the rules of
// Request.Scan; those about keys aside. It returns nil or an *Error.
func Valid(b []byte) error {
	s := scanner{b: b}
	err := s.value(0)
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return err.locate(b)
	}
	return nil
}
