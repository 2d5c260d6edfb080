package embedded

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func gauss(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func TestRotation(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, dims := range []int{1, 2, 3, 63, 64, 65, 100, 384, 768, 1000, 1024, 1536} {
		turn := newRotation(dims)
		a, _ := unit(gauss(r, dims))
		b, _ := unit(gauss(r, dims))
		x, y := turn.apply(a), turn.apply(b)
		if len(x)%64 != 0 || len(x) < dims {
			t.Errorf("%d dimensions: %d numbers", dims, len(x))
		}
		if d := math.Abs(float64(dot(a, b) - dot(x, y))); d > 1e-5 {
			t.Errorf("%d dimensions: the inner product is off by %v", dims, d)
		}
		p, q := turn.encode(a), turn.encode(b)
		if d := math.Abs(float64(dot(a, b) - float32(dotCodes(p.bytes, q.bytes))*p.scale*q.scale)); d > 0.02 {
			t.Errorf("%d dimensions: the inner product of codes is off by %v", dims, d)
		}
		one := make([]float32, dims) // what is all in one number is spread
		one[0] = 1
		var most float64
		for _, v := range turn.apply(one) {
			most = max(most, math.Abs(float64(v)))
		}
		if bound := 8 / math.Sqrt(float64(turn.padded)); most > min(bound, 1.001) {
			t.Errorf("%d dimensions: one number makes %v; want at most %v", dims, most, bound)
		}
	}
	// Codes are on disks: the rotation never changes.
	if got := fmt.Sprintf("%.4f", newRotation(3).apply([]float32{1, 2, 3})[:4]); got != "[1.3281 -0.6094 0.3672 0.3047]" {
		t.Errorf("rotated to %s", got)
	}
}

// What processors have instructions for comes to the same, and a transform to the same
// bits: codes are on disks.
func TestFloatKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	for _, n := range []int{0, 1, 7, 8, 31, 32, 33, 64, 100, 768, 1000, 1024} {
		a, b := gauss(r, n), gauss(r, n)
		want := 0.0
		for i := range a {
			want += float64(a[i]) * float64(b[i])
		}
		for name, f := range map[string]func(a, b []float32) float32{"dot": dot, "dotFloats": dotFloats} {
			if got := f(a, b); math.Abs(float64(got)-want) > 1e-5*float64(n+1) {
				t.Errorf("%s of %d numbers: %v; want %v", name, n, got, want)
			}
		}
		x, y := slices.Clone(a), slices.Clone(b)
		mix(x, y)
		mixScalar(a, b)
		if !slices.Equal(x, a) || !slices.Equal(y, b) {
			t.Errorf("%d numbers are mixed differently", n)
		}
	}
	for n := 1; n <= 1024; n *= 2 {
		v := gauss(r, n)
		want := slices.Clone(v)
		for h := 1; h < n; h *= 2 { // as it is defined
			for i := 0; i < n; i += 2 * h {
				mixScalar(want[i:i+h], want[i+h:i+2*h])
			}
		}
		for i := range want {
			want[i] *= float32(1 / math.Sqrt(float64(n)))
		}
		if hadamard(v); !slices.Equal(v, want) {
			t.Errorf("the transform of %d numbers has other bits", n)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	turn := newRotation(1024)
	v := gauss(rand.New(rand.NewPCG(1, 4)), 1024)
	for b.Loop() {
		turn.encode(v)
	}
}

func BenchmarkDot(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 5))
	x, y := gauss(r, 1024), gauss(r, 1024)
	for b.Loop() {
		dot(x, y)
	}
}

func TestKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, extreme := range [][2]int8{{-127, -127}, {127, -127}, {127, 127}, {-128, -128}} {
		const n = 16384
		a, b := make([]int8, n), make([]int8, n)
		for i := range a {
			a[i], b[i] = extreme[0], extreme[1]
		}
		if got, want := dotCodes(a, b), n*int32(extreme[0])*int32(extreme[1]); got != want {
			t.Errorf("%d numbers of %v: %d, want %d", n, extreme, got, want)
		}
	}
	for n := 64; n <= 64*17; n += 64 {
		a, b := make([]int8, n), make([]int8, n)
		want := int32(0)
		for i := range a {
			a[i], b[i] = int8(r.IntN(255)-127), int8(r.IntN(255)-127)
			want += int32(a[i]) * int32(b[i])
		}
		if got := dotScalar(a, b); got != want {
			t.Errorf("%d numbers one by one: %d, want %d", n, got, want)
		}
		if got := dotCodes(a, b); got != want {
			t.Errorf("%d numbers: inner product %d; want %d", n, got, want)
		}
		differ := 0
		for i := range a {
			if (a[i] < 0) != (b[i] < 0) {
				differ++
			}
		}
		if got := hamming(appendSketch(nil, a), appendSketch(nil, b)); got != differ {
			t.Errorf("%d numbers: %d signs differ; want %d", n, got, differ)
		}
	}
	v := []float32{1, 2, 3, 4, 5, 6, 7}
	if got := dot(v, v); got != 140 {
		t.Errorf("inner product %v; want 140", got)
	}
}

// What the sketches let through, once judged, is as good as looking at all;
// where they say too little, all is looked at.
func TestJudge(t *testing.T) {
	if RaceDetector {
		t.Skip("takes long with the race detector and runs alone")
	}
	r := rand.New(rand.NewPCG(1, 3))
	const n, dims = 10_000, 128
	f := func(name string, scan bool, next func() []float32) {
		t.Helper()
		turn, p := newRotation(dims), newPart()
		for i := range n {
			v, _ := unit(next())
			p.add(entry{row: int64(i), id: fmt.Sprint(i), code: turn.encode(v)})
		}
		v := p.view(turn.padded)
		v.candidates = v.judge(nil)
		if scan != (v.candidates < 0) {
			t.Errorf("%s: %d candidates", name, v.candidates)
		}
		found := 0
		for range 30 {
			u, _ := unit(next())
			q := turn.encode(u)
			all, err := v.nearest(q, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			some, err := v.nearest(q, v.candidates, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range some {
				for _, want := range all {
					if h == want {
						found++
					}
				}
			}
		}
		if found < 297 {
			t.Errorf("%s: %d of 300 near points found with %d candidates", name, found, v.candidates)
		}
	}
	var basis, centres [][]float32
	for range 12 {
		basis = append(basis, gauss(r, dims))
	}
	for range 50 {
		centres = append(centres, gauss(r, len(basis)))
	}
	f("clusters", false, func() []float32 {
		out, centre := make([]float32, dims), centres[r.IntN(len(centres))]
		for i, b := range basis {
			w := centre[i] + float32(r.NormFloat64())/2
			for j := range out {
				out[j] += w * b[j]
			}
		}
		return out
	})
	f("noise", true, func() []float32 { return gauss(r, dims) })
}

// Ties that are cut by the limit are cut by id, whatever way is taken.
func TestTiesAtTheLimit(t *testing.T) {
	turn, p := newRotation(64), newPart()
	v, _ := unit(gauss(rand.New(rand.NewPCG(1, 4)), 64))
	for i := range 9000 {
		p.add(entry{row: int64(i), id: fmt.Sprintf("%05d", (i*7919)%9000), code: turn.encode(v)})
	}
	for _, candidates := range []int{0, 100} {
		near, err := p.view(64).nearest(turn.encode(v), candidates, 20)
		if err != nil || len(near) != 20 {
			t.Fatal(len(near), err)
		}
		for _, h := range near {
			if p.ids[h.slot] >= "00020" {
				t.Errorf("%d candidates: %s is among the first 20", candidates, p.ids[h.slot])
			}
		}
	}
}

func TestUnit(t *testing.T) {
	f := func(want bool, v ...float32) {
		t.Helper()
		u, ok := unit(v)
		if ok != want {
			t.Errorf("%v: %v", v, ok)
		}
		if ok && math.Abs(float64(dot(u, u))-1) > 1e-6 {
			t.Errorf("%v: length %v", v, dot(u, u))
		}
	}
	big, small := float32(math.MaxFloat32), float32(math.SmallestNonzeroFloat32)
	f(true, 3, 4)
	f(true, big, big, big)
	f(true, small, 0)
	f(false)
	f(false, 0, 0)
	f(false, float32(math.NaN()), 1)
	f(false, float32(math.Inf(-1)), 1)
}
