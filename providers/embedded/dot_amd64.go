package embedded

import "golang.org/x/sys/cpu"

// dotAVX2 is the inner product of n numbers, a multiple of 32 and above zero.
//
//go:noescape
func dotAVX2(a, b *int8, n int) int32

// dotCodes is the inner product of two codes of one length, a multiple of 64. A scan
// does little else: with these instructions it takes a fortieth of the time.
func dotCodes(a, b []int8) int32 {
	if n := min(len(a), len(b)); n > 0 && n%32 == 0 && cpu.X86.HasAVX2 {
		return dotAVX2(&a[0], &b[0], n)
	}
	return dotScalar(a, b)
}
