package embedded

import "golang.org/x/sys/cpu"

// dotAVX2 is the inner product of n numbers, a multiple of 32 and above zero.
//
//go:noescape
func dotAVX2(a, b *int8, n int) int32

// dotFMA is the inner product of n numbers, a multiple of 32 and above zero.
//
//go:noescape
func dotFMA(a, b *float32, n int) float32

// mixAVX2 puts a+b in the place of a and a-b in that of b, for n numbers, a multiple
// of 8 and above zero.
//
//go:noescape
func mixAVX2(a, b *float32, n int)

// dotCodes is the inner product of two codes of one length, a multiple of 64. A scan
// does little else: with these instructions it takes a fortieth of the time.
func dotCodes(a, b []int8) int32 {
	if n := min(len(a), len(b)); n > 0 && n%32 == 0 && cpu.X86.HasAVX2 {
		return dotAVX2(&a[0], &b[0], n)
	}
	return dotScalar(a, b)
}

// dot is the inner product of two vectors of one length.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	whole := len(a) &^ 31
	if whole == 0 || !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		return dotFloats(a, b)
	}
	return dotFMA(&a[0], &b[0], whole) + dotFloats(a[whole:], b[whole:])
}

// mix puts a+b in the place of a and a-b in that of b, which are of one length.
func mix(a, b []float32) {
	if len(a) >= 8 && len(a)%8 == 0 && cpu.X86.HasAVX2 {
		mixAVX2(&a[0], &b[:len(a)][0], len(a))
		return
	}
	mixScalar(a, b)
}
