package chat

import (
	"hash/maphash"
	"unicode/utf8"
)

// seed makes it impossible to choose keys that share a hash. It changes
// nothing that can be seen.
var seed = maphash.MakeSeed()

// index finds members by key: a hash table of member numbers plus one, with
// open addressing, at most half full.
type index struct {
	few  [64]uint16
	many []uint16 // in place of few, for bodies with many members
}

func (x *index) reset() {
	x.many = nil
	clear(x.few[:])
}

func (x *index) slots() []uint16 {
	if x.many != nil {
		return x.many
	}
	return x.few[:]
}

// find returns the number of the member called key, or -1.
func (r *Request) find(key string) int {
	if len(r.members) == 0 {
		return -1
	}
	h := maphash.String(seed, key)
	slots := r.index.slots()
	mask := uint64(len(slots) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		n := int(slots[at]) - 1
		if n < 0 {
			return -1
		}
		if m := &r.members[n]; m.hash == h && string(r.key(m)) == key {
			return n
		}
	}
}

// enter adds the last member to the index. It reports false if another member
// has its key.
func (r *Request) enter() bool {
	slots := r.index.slots()
	if 2*len(r.members) > len(slots) {
		slots = r.grow(2 * len(slots))
	}
	last := len(r.members) - 1
	m := &r.members[last]
	key := r.key(m)
	m.hash = maphash.Bytes(seed, key)
	mask := uint64(len(slots) - 1)
	at := m.hash & mask
	for ; slots[at] != 0; at = (at + 1) & mask {
		if o := &r.members[slots[at]-1]; o.hash == m.hash && string(r.key(o)) == string(key) {
			return false
		}
	}
	slots[at] = uint16(last + 1)
	return true
}

// grow makes a larger table and enters every member but the last.
func (r *Request) grow(size int) []uint16 {
	slots := make([]uint16, size)
	mask := uint64(len(slots) - 1)
	for n := range len(r.members) - 1 {
		at := r.members[n].hash & mask
		for slots[at] != 0 {
			at = (at + 1) & mask
		}
		slots[at] = uint16(n + 1)
	}
	r.index.many = slots
	return slots
}

// disguised returns the parameter that key stands for in the eyes of a reader
// who ignores case, as upstreams written in Go do, unless it is that parameter.
func disguised(key []byte) (known string, ok bool) {
	var buf [32]byte // longer than any parameter
	folded := buf[:0]
	changed := false
	for i := 0; i < len(key); {
		c, n := key[i], 1
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
			changed = true
		case c >= utf8.RuneSelf:
			// Two letters that are not ASCII fold to ones that are.
			var r rune
			switch r, n = utf8.DecodeRune(key[i:]); r {
			case '\u212a': // kelvin: as a letter it looks like K, and some editors make it one
				c = 'k'
			case '\u017f': // the long s
				c = 's'
			default:
				return "", false
			}
			changed = true
		}
		if len(folded) == len(buf) {
			return "", false
		}
		folded = append(folded, c)
		i += n
	}
	if !changed || !parameter(folded) {
		return "", false
	}
	return string(folded), true
}

// parameter reports whether key is one that OpenAI's endpoints, or rerank, act
// on.
func parameter(key []byte) bool {
	switch string(key) {
	case "audio", "background", "best_of", "cache", "context_management", "conversation", "dimensions", "documents",
		"echo", "encoding_format", "frequency_penalty", "function_call", "functions", "include", "input",
		"instructions", "logit_bias", "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens",
		"max_tokens_per_doc", "max_tool_calls", "messages", "metadata", "modalities", "model", "moderation", "n",
		"parallel_tool_calls", "prediction", "presence_penalty", "previous_response_id", "prompt", "prompt_cache_key",
		"prompt_cache_options", "prompt_cache_retention", "query", "reasoning", "reasoning_effort", "response_format",
		"return_documents", "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
		"suffix", "temperature", "text", "tool_choice", "tools", "top_k", "top_logprobs", "top_n", "top_p",
		"truncation", "user", "verbosity", "web_search_options":
		return true
	}
	return false
}
