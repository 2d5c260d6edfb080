//go:build !unix

package proxy

func filesAllowed() (n uint64, known bool) { return 0, false }
