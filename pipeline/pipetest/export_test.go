package pipetest

import "time"

// Impatient shortens what the package waits for things to end.
func Impatient() { patience = 200 * time.Millisecond }
