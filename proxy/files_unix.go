//go:build unix

package proxy

import "golang.org/x/sys/unix"

// filesAllowed is how many files this process may have open at a time.
func filesAllowed() (n uint64, known bool) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return uint64(l.Cur), true //nolint:unconvert // it has a sign on FreeBSD
}
