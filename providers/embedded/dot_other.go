//go:build !amd64

package embedded

// dotCodes is the inner product of two codes of one length, a multiple of 64.
func dotCodes(a, b []int8) int32 { return dotScalar(a, b) }

// dot is the inner product of two vectors of one length.
func dot(a, b []float32) float32 { return dotFloats(a, b) }

// mix puts a+b in the place of a and a-b in that of b, which are of one length.
func mix(a, b []float32) { mixScalar(a, b) }
