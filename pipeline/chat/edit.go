package chat

import "slices"

// An Edit sets or removes one top-level member.
type Edit struct {
	// Key is the member's key, unescaped.
	Key string
	// Value is the new value, one valid JSON value; empty to remove the member.
	Value []byte
}

// AppendEdit appends the body as changed by edits to dst, which must not
// overlap it. Members that are there already change in their place, others are
// added at the end in the order of edits, and every other byte stays as it was.
// Of several edits with the same key the last counts.
func (r *Request) AppendEdit(dst []byte, edits ...Edit) []byte {
	body := r.body
	if body == nil {
		body = []byte("{}")
	}
	size := len(body)
	for i := range edits {
		size += len(edits[i].Key) + len(edits[i].Value) + len(`,"":`)
	}
	dst = slices.Grow(dst, size)
	done := 0     // body[:done] is written or left out
	kept := false // a member has been written
	for i := range r.members {
		m := &r.members[i]
		e := editOf(edits, r.key(m))
		switch {
		case e == nil:
			kept = true
		case len(e.Value) > 0:
			dst = append(append(dst, body[done:m.value.from]...), e.Value...)
			done, kept = m.value.to, true
		case kept:
			dst = append(dst, body[done:r.members[i-1].value.to]...)
			done = m.value.to
		default:
			// No member stands before it, so the comma after it goes too.
			if done < m.at {
				dst = append(dst, body[done:m.at]...)
			}
			if done = m.value.to; i+1 < len(r.members) {
				done = r.members[i+1].at
			}
		}
	}
	tail := r.open + 1
	if n := len(r.members); n > 0 {
		tail = r.members[n-1].value.to
	}
	if done < tail {
		dst = append(dst, body[done:tail]...)
	}
	for i := range edits {
		if e := &edits[i]; len(e.Value) > 0 && r.find(e.Key) < 0 && editOf(edits, []byte(e.Key)) == e {
			if kept {
				dst = append(dst, ',')
			}
			dst = append(append(AppendString(dst, e.Key), ':'), e.Value...)
			kept = true
		}
	}
	return append(dst, body[tail:]...)
}

// editOf returns the edit that counts for key, or nil.
func editOf(edits []Edit, key []byte) *Edit {
	for i := len(edits) - 1; i >= 0; i-- {
		if edits[i].Key == string(key) {
			return &edits[i]
		}
	}
	return nil
}
