// Package pipetest is what tests of stages, providers and stores are made with:
// streams that punish whoever keeps a frame, a provider that follows a script,
// and Conform, which checks what every component has to keep to.
//
//	func TestConform(t *testing.T) {
//		pipetest.Conform(t, guard.Plugin, "words: [x]")
//	}
//
// It is for tests alone, and no part of it talks to the network.
package pipetest

import (
	"bytes"
	"io"
	"slices"
	"sync/atomic"
)

// Poison is what a frame is overwritten with once it is no longer valid. No
// UTF-8 text holds a run of it.
const Poison = 0xDB

// A Body is a stream that follows a script. It overwrites each frame with
// Poison as soon as the next is asked for, so that a slice kept too long turns
// into visible garbage, and it counts what is done to it.
type Body struct {
	frames [][]byte
	err    error
	before func() error // called before each frame

	last    []byte
	was     []byte // what last was when it was handed out
	reads   atomic.Int32
	closes  atomic.Int32
	reading atomic.Bool
	abused  atomic.Bool
	written atomic.Bool
	onClose func()
}

// Stream returns a body of the given frames, whole at its end.
func Stream(frames ...string) *Body {
	b := &Body{err: io.EOF}
	for _, f := range frames {
		b.frames = append(b.frames, []byte(f))
	}
	return b
}

// Broken returns a body that fails with err after the given frames.
func Broken(err error, frames ...string) *Body {
	b := Stream(frames...)
	b.err = err
	return b
}

// Next implements pipeline.Stream.
func (b *Body) Next() ([]byte, error) {
	if b.closes.Load() > 0 || !b.reading.CompareAndSwap(false, true) {
		b.abused.Store(true)
		return nil, io.ErrClosedPipe
	}
	defer b.reading.Store(false)
	b.poison()
	if b.before != nil {
		if err := b.before(); err != nil {
			return nil, err
		}
	}
	if len(b.frames) == 0 {
		return nil, b.err
	}
	b.reads.Add(1)
	// A copy with no room to spare: appending to a frame must not reach the
	// next one.
	b.was = b.frames[0]
	b.last = slices.Clip(slices.Clone(b.was))
	b.frames = b.frames[1:]
	return b.last, nil
}

// Close implements pipeline.Stream.
func (b *Body) Close() error {
	if b.reading.Load() {
		b.abused.Store(true)
	}
	if b.closes.Add(1) > 1 {
		b.abused.Store(true)
		return io.ErrClosedPipe
	}
	b.poison()
	if b.onClose != nil {
		b.onClose()
	}
	return nil
}

func (b *Body) poison() {
	if !bytes.Equal(b.last, b.was) {
		b.written.Store(true)
	}
	for i := range b.last {
		b.last[i] = Poison
	}
	b.last, b.was = nil, nil
}

// Reads is how many frames have been read.
func (b *Body) Reads() int { return int(b.reads.Load()) }

// Closes is how often the body was closed; once is right.
func (b *Body) Closes() int { return int(b.closes.Load()) }

// Abused reports whether the body was used against the rules of
// pipeline.Stream: closed twice, read after it was closed, or read or closed
// while a read was running.
func (b *Body) Abused() bool { return b.abused.Load() }

// Written reports whether a frame was written into. Frames are read only: those of a
// cached answer are everybody's.
func (b *Body) Written() bool { return b.written.Load() }
