package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestQuantile(t *testing.T) {
	f := func(values []float64, q, want float64) {
		t.Helper()
		if got := Quantile(values, q); got != want {
			t.Errorf("Quantile(%v, %v) = %v, want %v", values, q, got, want)
		}
	}
	f([]float64{7}, 0, 7)
	f([]float64{7}, 1, 7)
	f([]float64{1, 2, 3, 4}, 0.5, 2)
	f([]float64{1, 2, 3, 4}, 0.51, 3)
	f([]float64{1, 2, 3, 4}, 0.99, 4)
	if !math.IsNaN(Quantile(nil, 0.5)) {
		t.Error("a quantile of nothing is a number")
	}
}

func TestMedianOf(t *testing.T) {
	f := func(values []float64, want Median) {
		t.Helper()
		if got := MedianOf(values); got != want {
			t.Errorf("MedianOf(%v) = %+v, want %+v", values, got, want)
		}
	}
	f([]float64{3}, Median{1, 3, 3, 3})
	f([]float64{4, 1, 2, 3}, Median{4, 2.5, 1, 4})
	f([]float64{math.NaN(), 5}, Median{1, 5, 5, 5})
	// Six values: 2 × 2^-6 = 3.1 % outside, so the extremes are the interval.
	f([]float64{6, 5, 4, 3, 2, 1}, Median{6, 3.5, 1, 6})
	// Textbook: for n = 20 the 95 % interval runs from the 6th to the 15th.
	twenty := make([]float64, 20)
	for i := range twenty {
		twenty[i] = float64(i + 1)
	}
	f(twenty, Median{20, 10.5, 6, 15})
}

// The interval must hold the true median about as often as it claims, also for
// the lopsided noise of a shared machine.
func TestMedianOfCoverage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const trials, n = 2000, 15
	truth := math.Exp(0) // median of the log-normal distribution drawn below
	held := 0
	for range trials {
		v := make([]float64, n)
		for i := range v {
			v[i] = math.Exp(rnd.NormFloat64())
		}
		if m := MedianOf(v); m.Low <= truth && truth <= m.High {
			held++
		}
	}
	if share := float64(held) / trials; share < 0.94 {
		t.Errorf("the interval held the median in %.3f of the trials, want 0.95 or more", share)
	}
}

// A slow drift of the machine moves both sides and must not move their ratio.
func TestRatiosCancelDrift(t *testing.T) {
	var a, b []float64
	for i := range 40 {
		drift := 1 + float64(i)/10
		a, b = append(a, 110*drift), append(b, 100*drift)
	}
	m := MedianOf(Ratios(a, b))
	if math.Abs(m.Value-1.1) > 1e-9 || m.High-m.Low > 1e-9 {
		t.Errorf("ratio %+v, want 1.1 without spread", m)
	}
	if r := Ratios([]float64{1}, []float64{0}); !math.IsNaN(r[0]) {
		t.Errorf("a ratio to nothing is %v", r[0])
	}
}
