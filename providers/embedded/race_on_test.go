//go:build race

package embedded

// RaceDetector is on: what takes long and runs alone is left out.
const RaceDetector = true
