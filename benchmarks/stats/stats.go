// Package stats condenses samples: quantiles of latencies, medians of
// repetitions, and how far to trust a median.
//
// It knows nothing of what the numbers mean and assumes no distribution: on a
// shared machine the noise is one-sided and has a long tail.
package stats

import (
	"math"
	"slices"
)

// A Median is the middle of repeated measurements, with the interval that
// holds the true median with 95 % confidence. With fewer than six
// measurements no such interval exists, and Low and High are the extremes.
type Median struct {
	N                int
	Value, Low, High float64
}

// MedianOf condenses values, which it does not change. Not-a-numbers are left
// out.
func MedianOf(values []float64) Median {
	v := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(v) == 0 {
		return Median{Value: math.NaN(), Low: math.NaN(), High: math.NaN()}
	}
	slices.Sort(v)
	n := len(v)
	k := rank(n)
	return Median{N: n, Value: (v[(n-1)/2] + v[n/2]) / 2, Low: v[k], High: v[n-1-k]}
}

// rank returns how many of n sorted values lie outside the interval at either
// end: the largest k for which fewer than k+1 of n values lie below the true
// median with a probability of at most 2.5 %.
func rank(n int) int {
	tail, p := 0.0, math.Pow(0.5, float64(n)) // p: exactly k of n lie below
	k := 0
	for tail+p <= 0.025 {
		tail += p
		p = p * float64(n-k) / float64(k+1)
		k++
	}
	return max(0, k-1)
}

// Ratios divides value by base pair by pair: what was measured side by side
// is compared, so that noise which lasts longer than a pair cancels out. A
// pair without a usable base yields not-a-number.
func Ratios(values, base []float64) []float64 {
	r := make([]float64, min(len(values), len(base)))
	for i := range r {
		r[i] = math.NaN()
		if base[i] > 0 {
			r[i] = values[i] / base[i]
		}
	}
	return r
}

// Quantile returns the smallest of the sorted values that at least the share q
// of them does not exceed, or not-a-number if there are none.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}
