//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package embedded

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// guard keeps a second store off the file: its memory would not learn of what
// the first one writes. The lock goes with the process, however it ends.
func guard(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // never used
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("it is open already, in another process or here, where requests that began before a reload may still use it; " +
				"two stores cannot share a file, and a change of settings needs a restart")
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
