//go:build !race

package embedded

// RaceDetector is off.
const RaceDetector = false
