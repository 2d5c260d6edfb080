//go:build !unix

package embedded

import "os"

// guard does nothing where files cannot be locked as on Unix.
func guard(string) (*os.File, error) { return nil, nil }
