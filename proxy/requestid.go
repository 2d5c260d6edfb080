package proxy

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// requestID appends the client's own id, if it is fit to be logged and sent
// back, else a new one.
func requestID(dst, own []byte) []byte {
	if isID(own) {
		return append(dst, own...)
	}
	var raw [16]byte
	binary.LittleEndian.PutUint64(raw[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(raw[8:], rand.Uint64())
	return hex.AppendEncode(append(dst, "req_"...), raw[:])
}

// isID accepts what ids are made of, and nothing that means something in a
// header, a log or JSON.
func isID(b []byte) bool {
	if len(b) == 0 || len(b) > 128 {
		return false
	}
	for _, c := range b {
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' && c != '.' && c != ':' && c != '/' && c != '+' && c != '=' && c != '@' {
			return false
		}
	}
	return true
}
