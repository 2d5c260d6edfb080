package pipetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/sse"
)

// Exchange returns a chat request with the given body, as the edge would make
// it, for a model "*" that the providers answer for in that order. Its targets
// are called target0, target1 and so on. The caller releases it.
func Exchange(t testing.TB, body string, providers ...pipeline.Provider) *pipeline.Exchange {
	t.Helper()
	var targets []*pipeline.Target
	for i, p := range providers {
		targets = append(targets, &pipeline.Target{Index: i, Name: "target" + strconv.Itoa(i), Provider: p})
	}
	ex := newExchange(t.Context(), body)
	setTargets(ex, targets)
	return ex
}

// newExchange returns a chat request without targets.
func newExchange(ctx context.Context, body string) *pipeline.Exchange {
	ex := pipeline.Acquire(ctx)
	h := &ex.Request.Header
	h.SetMethod("POST")
	h.SetRequestURI("/v1/chat/completions")
	h.SetHost("gateway.test")
	h.SetContentType("application/json")
	h.SetContentLength(len(body))
	ex.Request.Body = []byte(body)
	ex.Op = pipeline.OpChat
	ex.Route = "test"
	ex.Began = time.Now()
	return ex
}

func setTargets(ex *pipeline.Exchange, targets []*pipeline.Target) {
	if len(targets) > 0 {
		ex.Model = &pipeline.Model{Name: "*", Targets: targets}
		ex.Targets = targets
	}
}

// ReadAll reads the exchange's answer to its end, closes it, and returns it.
// The test fails if there is none, or if it is not whole.
func ReadAll(t testing.TB, ex *pipeline.Exchange) string {
	t.Helper()
	body, err := readAll(ex)
	if err != nil {
		t.Fatalf("read the answer: %v (so far %q)", err, body)
	}
	return body
}

var errNoAnswer = errors.New("nothing has answered")

func readAll(ex *pipeline.Exchange) (string, error) {
	if ex.Response.Body == nil {
		return "", errNoAnswer
	}
	defer ex.Response.CloseBody()
	var all strings.Builder
	for {
		frame, err := ex.Response.Body.Next()
		all.Write(frame)
		switch {
		case err != nil && len(frame) > 0:
			return all.String(), fmt.Errorf("%w: %w", errTogether, err)
		case err == io.EOF:
			return all.String(), nil
		case err != nil:
			return all.String(), err
		case len(frame) == 0:
			return all.String(), errEmpty
		case ex.Events() && !sse.Ends(frame):
			return all.String(), fmt.Errorf("%w: %q", errPart, frame)
		}
	}
}

// What a stream must not do.
var (
	errTogether = errors.New("Next returned a frame together with an error; who reads it drops the frame")
	errEmpty    = errors.New("Next returned an empty frame without an error")
	errPart     = errors.New("Next returned a frame that ends within an event")
)

// Ask sends one chat request through the chain and returns the answer. The test
// fails on any error.
func Ask(t testing.TB, chain pipeline.Chain, body string, providers ...pipeline.Provider) string {
	t.Helper()
	ex := Exchange(t, body, providers...)
	defer ex.Release()
	if err := chain.Handle(ex.Context(), ex); err != nil {
		t.Fatalf("handle %s: %v", body, err)
	}
	return ReadAll(t, ex)
}
