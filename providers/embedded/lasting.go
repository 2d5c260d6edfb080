package embedded

// Lasting reports whether what is written outlives the process. Commands that
// write and end ask first.
func (s *store) Lasting() bool { return s.file.path != "" }
