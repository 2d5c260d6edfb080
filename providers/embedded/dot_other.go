//go:build !amd64

package embedded

// dotCodes is the inner product of two codes of one length, a multiple of 64.
func dotCodes(a, b []int8) int32 { return dotScalar(a, b) }
