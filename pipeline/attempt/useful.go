package attempt

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

// judge looks through the events of a frame for the first one that the client
// waits for. An event that reports an error before it makes the stream a
// failure.
func judge(frame []byte) (useful bool, err error) {
	for len(frame) > 0 {
		var event []byte
		event, frame = sse.Cut(frame)
		data, ok := sse.Data(nil, event)
		if !ok {
			continue // a comment
		}
		if err := failed(data); err != nil {
			return false, err
		}
		if chat.Useful(data) {
			return true, nil
		}
	}
	return false, nil
}

var (
	errorKey  = []byte(`"error"`)
	errInBand = errors.New("the upstream reported an error instead of answering")
)

// failed returns the error that an event reports, or nil. Upstreams that have
// begun a stream can report errors in no other way.
func failed(data []byte) error {
	if !bytes.Contains(data, errorKey) {
		return nil
	}
	var object, report chat.Request
	if object.Scan(data) != nil {
		return nil
	}
	raw, ok := object.Member("error")
	if !ok || string(raw) == "null" {
		return nil
	}
	status := 502
	if report.Scan(raw) == nil {
		status = statusOf(&report)
	}
	e := &pipeline.Error{Status: status, Code: "upstream_error", Err: errInBand, Body: bytes.Clone(data)}
	switch e.Fault = pipeline.FaultOfStatus(status); status {
	case 451:
		e.Status, e.Fault = 400, pipeline.PolicyFault
	case 401, 402, 403:
		e.Status = 502 // it is not the client's key
	}
	return e
}

// kinds are the parts of an error's type or code that tell its status. 451
// stands for a refusal, which OpenAI reports as 400.
var kinds = []struct {
	part   string
	status int
}{
	{"overloaded", 503},
	{"rate_limit", 429},
	{"insufficient_quota", 429},
	{"timeout", 504},
	{"content_filter", 451},
	{"content_policy", 451},
	{"context_length", 400},
	{"invalid_request", 400},
}

func statusOf(report *chat.Request) int {
	for _, key := range []string{"code", "status", "type"} {
		raw, _ := report.Member(key)
		word := strings.Trim(string(raw), `"`)
		if n, err := strconv.Atoi(word); err == nil && n >= 400 && n < 600 {
			return n
		}
		for _, k := range kinds {
			if strings.Contains(word, k.part) {
				return k.status
			}
		}
	}
	return 502
}
