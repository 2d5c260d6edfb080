package config

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
)

// build makes the snapshot of a file that was read without a problem. It
// returns nil after one.
func (l *loader) build(ctx context.Context, old *Snapshot) *Snapshot {
	p := newPlan(l, old)
	p.order()
	p.name()
	built := 0
	for _, u := range p.units {
		if u.carried == nil && ready(u) && l.buildUnit(ctx, u, p) {
			built++
		}
	}
	s := l.snapshot(p)
	if len(l.problems) == 0 {
		l.refuseOpen(s)
	}
	if len(l.problems) > 0 {
		for _, u := range slices.Backward(p.units) {
			if u.carried == nil && u.value != nil {
				u.close()
			}
		}
		return nil
	}
	l.log.Debug("configuration built", "file", l.file, "built", built, "carried_over", len(p.units)-built)
	return s
}

// ready reports whether everything that u needs was built.
func ready(u *unit) bool {
	for _, d := range u.needs {
		if d.value == nil {
			return false
		}
	}
	return true
}

// buildUnit gives u what it refers to and builds it.
func (l *loader) buildUnit(ctx context.Context, u *unit, p *plan) bool {
	if ctx.Err() != nil {
		l.problem(u.at, u.path, "", "not built: %v", context.Cause(ctx))
		return false
	}
	for _, r := range u.refs {
		r.set(r.unit.final().value)
	}
	for _, c := range u.nested {
		c.fill()
	}
	for _, e := range u.each {
		e.chain.fill()
		e.chains[e.target.final.Index] = e.chain.slots
	}
	u.log = l.log.With("component", u.env)
	env := Env{
		Name:    u.env,
		Log:     u.log,
		Metrics: careful{prometheus.WrapRegistererWith(prometheus.Labels{"component": u.env}, &u.metrics)},
	}
	if u.comp.each {
		env.Targets = p.targets
	}
	if u.target != nil {
		env.Target = u.target.final
	}
	err := l.call(ctx, u, env)
	for _, t := range p.serving[u] {
		t.Provider, _ = u.value.(pipeline.Provider)
	}
	if err == nil && isNil(u.value) {
		err = errors.New("BUG: Build returned nothing: neither a component nor an error")
	}
	if err != nil {
		u.value = nil
		l.problem(u.at, u.path, "", "%v", err)
		return false
	}
	// What the file said of it is of no use any more; the unit may outlive
	// the file by many.
	u.settings, u.refs, u.nested, u.each, u.target = reflect.Value{}, nil, nil, nil, nil
	return true
}

// isNil reports whether v is nil, or an interface that holds a nil pointer or function,
// which would fail with the first request only.
func isNil(v any) bool {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Func:
		return r.IsNil()
	}
	return false
}

// What Build may take: before the log says who is slow, and after it was told to end.
const (
	slowBuild = 10 * time.Second
	lateBuild = time.Second
)

// call calls Build, whose panic is an error. A Build that does not heed ctx is left alone
// once that has ended: somebody wants the gateway to stop.
func (l *loader) call(ctx context.Context, u *unit, env Env) error {
	type built struct {
		value any
		err   error
	}
	done := make(chan built, 1)
	go func() {
		v, err := l.built(ctx, u, env)
		done <- built{v, err}
	}()
	timer := time.NewTimer(slowBuild)
	defer timer.Stop()
	for ended := ctx.Done(); ; {
		select {
		case b := <-done:
			u.value = b.value
			return b.err
		case <-ended:
			ended = nil
			timer.Reset(lateBuild)
		case <-timer.C:
			if ended != nil {
				l.log.Warn("a component takes long to build", "component", env.Name, "after", slowBuild.String())
				continue
			}
			go func() { // what comes of it has no user
				if b := <-done; b.err == nil {
					(&unit{value: b.value, log: u.log}).close()
				}
			}()
			return fmt.Errorf("not built: %w; its Build goes on all the same", context.Cause(ctx))
		}
	}
}

func (l *loader) built(ctx context.Context, u *unit, env Env) (v any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			l.log.Error("building a component panicked", "component", env.Name, "stack", string(debug.Stack()))
		}
	}()
	return u.comp.build(ctx, u.settings.Interface(), env)
}

// fill puts the built stages into the chain that settings and snapshot share.
func (c *compiled) fill() {
	for i, u := range c.units {
		c.slots[i], _ = u.final().value.(pipeline.Handler)
	}
}

// snapshot puts together what was built.
func (l *loader) snapshot(p *plan) *Snapshot {
	s := &Snapshot{Server: l.server, Targets: p.targets, providers: p.providers}
	s.refs.Store(1)
	for _, c := range l.roots() {
		c.fill()
	}
	if l.before != nil {
		s.Before = l.before.slots
	}
	var models []*pipeline.Model
	for _, m := range l.models {
		d := &pipeline.Model{Name: m.name, ContextWindow: m.window}
		if m.chain != nil {
			d.Chain = m.chain.slots
		}
		for _, t := range m.targets {
			d.Targets = append(d.Targets, t.final)
		}
		models = append(models, d)
	}
	s.Models = pipeline.NewModels(models)
	for _, r := range l.routes {
		r.Chain = r.chain.slots
		s.Routes = append(s.Routes, r.Route)
	}
	for _, u := range p.units {
		s.units = append(s.units, u.final())
	}
	return s
}
