//go:build !race

package pipetest

// Race says whether the race detector is on. It makes pools forget at random,
// so that tests which count allocations must leave off.
const Race = false
