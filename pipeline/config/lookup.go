package config

// Lookup returns the provider or store of that name, if the file has one and it
// implements T. It stays usable until s is released.
func Lookup[T any](s *Snapshot, name string) (component T, ok bool) {
	for _, u := range s.units {
		if u.name == name && name != "" {
			component, ok = u.value.(T)
			return component, ok
		}
	}
	return component, false
}

// Names returns the names of the providers and stores that implement T, in the
// order in which they were built.
func Names[T any](s *Snapshot) []string {
	var names []string
	for _, u := range s.units {
		if _, ok := u.value.(T); ok && u.name != "" {
			names = append(names, u.name)
		}
	}
	return names
}
