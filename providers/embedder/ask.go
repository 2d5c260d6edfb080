package embedder

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/chat"
)

// maxAnswer bounds what an upstream may answer.
const maxAnswer = 128 << 20

// ask gets the vectors of texts, in as many calls as the upstream needs.
func (e *embedder) ask(ctx context.Context, s *side, texts []string) ([][]float32, error) {
	vectors := make([][]float32, 0, len(texts))
	err := e.portion.Each(len(texts), e.Batch, func(from, to int) error {
		within, stop := context.WithTimeout(ctx, e.Timeout)
		defer stop()
		some, err := e.once(within, s, texts[from:to])
		vectors = append(vectors, some...)
		return err
	})
	if err != nil {
		return nil, e.slow(ctx, err, len(texts))
	}
	return vectors, nil
}

// slow adds what helps to the error of a call with many texts that came too late. Fewer are
// not tried here: an upstream that is slow looks like one that is overloaded or gone, of
// which the one must not be asked for more at once, and neither be waited for twice.
func (e *embedder) slow(ctx context.Context, err error, texts int) error {
	if texts == 1 || ctx.Err() != nil || pipeline.FaultOfError(err) != pipeline.TimeoutFault {
		return err
	}
	return fmt.Errorf("%w; if it is for the number of texts, set batch of the embedder lower than %d, or timeout, and first_byte of its provider, higher",
		err, min(texts, e.portion.Of(e.Batch)))
}

// once asks in one call. An upstream that cannot pack vectors is asked again, in words
// that every upstream knows, and from then on so.
func (e *embedder) once(ctx context.Context, s *side, texts []string) ([][]float32, error) {
	encoding := e.Encoding
	if encoding == "auto" {
		encoding = "base64"
		if e.plain.Load() {
			encoding = ""
		}
	}
	vectors, err := e.askFor(ctx, s, texts, encoding)
	if refused, ok := errors.AsType[*ask.Refused](err); ok && e.Encoding == "auto" && encoding != "" && refused.OfRequest() {
		again, err := e.askFor(ctx, s, texts, "")
		if err == nil {
			e.plain.Store(true)
			return again, nil
		}
	}
	return vectors, err
}

// askFor makes one call. An empty encoding leaves it to the upstream.
func (e *embedder) askFor(ctx context.Context, s *side, texts []string, encoding string) ([][]float32, error) {
	ex := pipeline.Acquire(ctx)
	defer ex.Release()
	var vectors [][]float32
	var unusable error
	err := ask.Upstream(ex, e.chain, pipeline.OpEmbeddings, "embedder", e.body(s, texts, encoding), maxAnswer, func(answer []byte) (err error) {
		if vectors, err = parse(answer, len(texts), e.Dimensions); err != nil {
			unusable = &pipeline.Error{
				Status: 502, Code: "upstream_protocol", Fault: pipeline.UpstreamFault,
				Err: fmt.Errorf("embed %d texts with %q: %w", len(texts), e.Config.Model, err),
			}
		}
		return unusable
	})
	switch {
	case unusable != nil:
		return nil, unusable
	case err != nil:
		return nil, fmt.Errorf("embed %d texts with %q: %w", len(texts), e.Config.Model, err)
	}
	return vectors, nil
}

func (e *embedder) body(s *side, texts []string, encoding string) []byte {
	b := chat.AppendString([]byte(`{"model":`), e.Config.Model)
	b = append(b, `,"input":[`...)
	for i, t := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = chat.AppendString(b, bytes.ToValidUTF8([]byte(t), []byte("\uFFFD")))
	}
	b = append(b, ']')
	if e.Dimensions > 0 {
		b = strconv.AppendInt(append(b, `,"dimensions":`...), int64(e.Dimensions), 10)
	}
	if encoding != "" {
		b = append(append(append(b, `,"encoding_format":"`...), encoding...), '"')
	}
	return append(append(b, s.fields...), '}')
}

// parse reads an answer for n texts.
func parse(b []byte, n, dimensions int) ([][]float32, error) {
	if err := chat.Valid(b); err != nil {
		return nil, err
	}
	out := make([][]float32, n)
	count, size := 0, dimensions
	for item := range chat.Array(chat.Get(b, "data")) {
		at := int64(count)
		if raw := chat.Get(item, "index"); raw != nil {
			var ok bool
			if at, ok = chat.Int(raw); !ok {
				return nil, errors.New("an index is no integer")
			}
		}
		if at < 0 || at >= int64(n) || out[at] != nil {
			return nil, fmt.Errorf("the vector of text %d came twice, or there is no such text", at)
		}
		v, err := vector(chat.Get(item, "embedding"), size)
		if err != nil {
			return nil, fmt.Errorf("vector %d: %w", at, err)
		}
		if size == 0 {
			size = len(v)
		}
		if len(v) != size {
			return nil, fmt.Errorf("vector %d has %d dimensions and not %d", at, len(v), size)
		}
		out[at] = v
		count++
	}
	if count != n {
		return nil, fmt.Errorf("got %d vectors", count)
	}
	return out, nil
}

// vector reads one vector, in either encoding, and makes it of unit length.
func vector(raw []byte, size int) ([]float32, error) {
	if len(raw) > 0 && raw[0] == '"' {
		return unpacked(raw)
	}
	v := make([]float32, 0, max(size, 64))
	for e := range chat.Array(raw) {
		x, err := strconv.ParseFloat(string(e), 32)
		if err != nil {
			return nil, errors.New("it holds what is no number")
		}
		v = append(v, float32(x))
	}
	return unit(v)
}

// unpacked reads a vector that is a string.
func unpacked(raw []byte) ([]float32, error) {
	text := raw[1 : len(raw)-1]
	if bytes.IndexByte(text, '\\') >= 0 { // such as \/, which base64 has
		text, _ = chat.AppendText(nil, raw)
	}
	packed := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(packed, text)
	if err != nil || n%4 != 0 {
		return nil, errors.New("it is not packed as base64 of 32-bit numbers")
	}
	v := make([]float32, n/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(packed[4*i:]))
	}
	return unit(v)
}

// unit scales v to unit length in place. A store must never see a vector that
// is zero or not finite: one such point spoils every search.
func unit(v []float32) ([]float32, error) {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 || math.IsNaN(sum) || math.IsInf(sum, 0) {
		return nil, errors.New("it is zero or not finite")
	}
	scale := 1 / math.Sqrt(sum)
	for i, x := range v {
		v[i] = float32(float64(x) * scale)
	}
	return v, nil
}
