package chat

type Request struct{}

func (r *Request) Scan(b []byte) error { return nil }
