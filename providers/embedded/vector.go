package embedded

import (
	"math"
	"math/bits"
)

// A rotation turns vectors of one length in a way that looks random and is
// always the same: signs are flipped, then a Walsh–Hadamard transform mixes
// what stands in a block; four times, the blocks overlapping. It keeps inner
// products and spreads what a vector says over all of its numbers, without
// which their signs alone say little about sparse vectors.
//
// Codes on disk are of rotated vectors, so a change here needs a new format.
type rotation struct {
	dims   int // of vectors as they come
	padded int // of rotated ones: a multiple of 64
	block  int // the largest power of two within padded
	signs  [4][]float32
}

func newRotation(dims int) *rotation {
	if dims == 0 {
		return &rotation{}
	}
	padded := (dims + 63) / 64 * 64
	r := &rotation{dims: dims, padded: padded, block: 1 << (bits.Len(uint(padded)) - 1)}
	seed := uint64(dims)
	for i := range r.signs {
		r.signs[i] = make([]float32, padded)
		for j := range r.signs[i] {
			r.signs[i][j] = 1 - 2*float32(split(&seed)>>63)
		}
	}
	return r
}

// split is one step of SplitMix64.
func split(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// apply returns v, rotated.
func (r *rotation) apply(v []float32) []float32 {
	out := make([]float32, r.padded)
	copy(out, v)
	for i, signs := range r.signs {
		signs = signs[:len(out)]
		for j := range out {
			out[j] *= signs[j]
		}
		if i%2 == 0 {
			hadamard(out[:r.block])
		} else {
			hadamard(out[r.padded-r.block:])
		}
	}
	return out
}

// hadamard is the orthonormal Walsh–Hadamard transform, in place.
func hadamard(v []float32) {
	h := 1
	if len(v) >= 8 {
		for i := 0; i < len(v); i += 8 {
			hadamard8((*[8]float32)(v[i:]))
		}
		h = 8
	}
	for ; h < len(v); h *= 2 {
		for i := 0; i < len(v); i += 2 * h {
			mix(v[i:i+h], v[i+h:i+2*h])
		}
	}
	scale := float32(1 / math.Sqrt(float64(len(v))))
	for i := range v {
		v[i] *= scale
	}
}

// hadamard8 takes the first three steps of eight numbers at once.
func hadamard8(v *[8]float32) {
	a, b, c, d := v[0]+v[1], v[0]-v[1], v[2]+v[3], v[2]-v[3]
	e, f, g, h := v[4]+v[5], v[4]-v[5], v[6]+v[7], v[6]-v[7]
	a, b, c, d = a+c, b+d, a-c, b-d
	e, f, g, h = e+g, f+h, e-g, f-h
	*v = [8]float32{a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h}
}

// mixScalar puts a+b in the place of a and a-b in that of b, in any processor's
// instructions.
func mixScalar(a, b []float32) {
	b = b[:len(a)]
	for i, x := range a {
		a[i], b[i] = x+b[i], x-b[i]
	}
}

// A code is a rotated vector, each number in a byte: about scale times codes.
type code struct {
	bytes []int8
	scale float32
}

func (r *rotation) encode(v []float32) code {
	rotated := r.apply(v)
	var most uint32 // without their signs, floats are ordered as their bits are
	for _, x := range rotated {
		most = max(most, math.Float32bits(x)&^(1<<31))
	}
	c := code{bytes: make([]int8, len(rotated)), scale: math.Float32frombits(most) / 127}
	for i, x := range rotated {
		c.bytes[i] = int8(math.RoundToEven(float64(x / c.scale)))
	}
	return c
}

// appendSketch appends the signs of a code, a bit for each number.
func appendSketch(dst []uint64, codes []int8) []uint64 {
	for len(codes) >= 64 {
		var word uint64
		for i, c := range codes[:64] {
			word |= uint64(uint8(c)>>7) << i
		}
		dst, codes = append(dst, word), codes[64:]
	}
	return dst
}

// hamming counts the bits in which two sketches of one length differ.
func hamming(a, b []uint64) int {
	n := 0
	for len(a) >= 4 && len(b) >= 4 {
		x, y := (*[4]uint64)(a), (*[4]uint64)(b)
		n += bits.OnesCount64(x[0]^y[0]) + bits.OnesCount64(x[1]^y[1]) +
			bits.OnesCount64(x[2]^y[2]) + bits.OnesCount64(x[3]^y[3])
		a, b = a[4:], b[4:]
	}
	for i, x := range a {
		n += bits.OnesCount64(x ^ b[i])
	}
	return n
}

// dotScalar is the inner product of two codes of one length, a multiple of 16, in
// any processor's instructions. Four sums and whole blocks keep it busy: a plain loop
// takes three times as long.
func dotScalar(a, b []int8) int32 {
	var s0, s1, s2, s3 int32
	for len(a) >= 16 && len(b) >= 16 {
		x, y := (*[16]int8)(a), (*[16]int8)(b)
		s0 += int32(x[0])*int32(y[0]) + int32(x[4])*int32(y[4]) + int32(x[8])*int32(y[8]) + int32(x[12])*int32(y[12])
		s1 += int32(x[1])*int32(y[1]) + int32(x[5])*int32(y[5]) + int32(x[9])*int32(y[9]) + int32(x[13])*int32(y[13])
		s2 += int32(x[2])*int32(y[2]) + int32(x[6])*int32(y[6]) + int32(x[10])*int32(y[10]) + int32(x[14])*int32(y[14])
		s3 += int32(x[3])*int32(y[3]) + int32(x[7])*int32(y[7]) + int32(x[11])*int32(y[11]) + int32(x[15])*int32(y[15])
		a, b = a[16:], b[16:]
	}
	return s0 + s1 + s2 + s3
}

// dotFloats is the inner product of two vectors of one length, in any processor's
// instructions.
func dotFloats(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}

// unit returns v scaled to length one, or false if that cannot be: a number is
// not finite, or all are zero.
func unit(v []float32) ([]float32, bool) {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if !(sum > 0) || math.IsInf(sum, 0) {
		return nil, false
	}
	norm := math.Sqrt(sum)
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(float64(x) / norm)
	}
	return out, true
}
