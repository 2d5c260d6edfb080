package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/headrace/headrace/benchmarks/load"
	"github.com/headrace/headrace/benchmarks/mock"
	"github.com/headrace/headrace/benchmarks/target"
)

// A runner runs scenarios, one after another.
type runner struct {
	dir      string // for logs and files
	env      target.Env
	builtin  []target.Target
	peers    []target.Target
	files    int      // how many a process may have open
	only     []string // restricts targets, if not empty
	effort   float64  // multiplies the rounds
	quiet    float64  // share of the machine that others may take when a slice begins
	progress io.Writer
	notes    []string
}

var upstreamTarget = target.Target{
	Name: "upstream", URL: "http://127.0.0.1:$PORT",
	Command: `exec "$SELF" serve mock -listen 127.0.0.1:$PORT -second $ADMIN -qdrant $QDRANT -bolt $BOLT`,
}

// run runs s. Targets that cannot take part are noted and left out.
func (r *runner) run(ctx context.Context, s scenario) (outcome, error) {
	passes, rounds := s.passes, max(1, int(float64(s.rounds)*r.effort+0.5))
	if r.effort < 1 {
		passes = max(1, int(float64(passes)*r.effort+0.5))
	}
	if most := r.clients(); s.clients > most {
		r.note(fmt.Sprintf("%s: %d clients instead of %d, because a process may have only %d files open", s.name, most, s.clients, r.files))
		s.clients = most
	}
	o := newOutcome(s)
	for i := range passes {
		fmt.Fprintf(r.progress, "%s: pass %d of %d, %d rounds\n", s.name, i+1, passes, rounds)
		if err := r.pass(ctx, s, rounds, &o); err != nil {
			return o, fmt.Errorf("scenario %s: %w", s.name, err)
		}
		o.even()
	}
	return o, nil
}

// clients is how many clients there can be: a gateway needs two connections
// for each.
func (r *runner) clients() int { return r.files/2 - 200 }

// A contestant is a target while it runs.
type contestant struct {
	*target.Process
	pool *load.Pool
}

// pass starts the upstream and the targets, and takes rounds of slices.
func (r *runner) pass(ctx context.Context, s scenario, rounds int, o *outcome) error {
	up, err := r.startUpstream()
	if err != nil {
		return err
	}
	defer up.Stop()
	control := mock.Client{Addr: up.Addr}

	var all []*contestant
	defer func() {
		for _, c := range all {
			c.pool.Close()
			c.Stop()
		}
	}()
	for _, t := range r.targets(s) {
		c, err := r.prepare(s, t, control)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			all = append(all, c)
			o.enter(t.Name)
		case errors.Is(err, target.ErrMissing) || slices.ContainsFunc(r.peers, func(p target.Target) bool { return p.Name == t.Name }):
			r.note(err.Error())
		default:
			return err
		}
	}
	if err := control.Set(s.upstream); err != nil {
		return err
	}
	for _, c := range all {
		s.warmUp(c.pool)
	}
	for range rounds {
		for _, i := range rand.Perm(len(all)) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.waitQuiet(ctx)
			x, err := r.take(s, all[i], up, control)
			if err != nil {
				return err
			}
			o.add(all[i].Name, x)
		}
	}
	return nil
}

func (s scenario) warmUp(p *load.Pool) {
	if s.warm != nil {
		s.warm(p)
		return
	}
	s.load(p)
}

// take takes one slice.
func (r *runner) take(s scenario, c *contestant, up *target.Process, control mock.Client) (*sample, error) {
	if _, err := control.Stats(); err != nil {
		return nil, err
	}
	m, err := begin(c.PIDs(), up.PIDs())
	if err != nil {
		return nil, fmt.Errorf("%s has ended: %w", c.Name, err)
	}
	x := &sample{size: len(s.body)}
	x.Result = s.load(c.pool)
	time.Sleep(s.settle)
	if err := m.end(x, runtime.NumCPU()); err != nil {
		return nil, fmt.Errorf("%s has ended: %w", c.Name, err)
	}
	if s.hold {
		c.pool.Close()
	}
	if x.upstream, err = control.Stats(); err != nil {
		return nil, err
	}
	if x.First != nil {
		r.note(fmt.Sprintf("%s, %s: %d of %d requests failed, the first with: %v", s.name, c.Name, x.Errors, x.Errors+x.Done, x.First))
	}
	return x, nil
}

// prepare starts t and makes sure that it answers as it should, so that a
// gateway that refuses everything does not win.
func (r *runner) prepare(s scenario, t target.Target, control mock.Client) (*contestant, error) {
	if err := control.Set(with(func(quick *mock.Settings) { quick.Chunks, quick.Numbers = 3, s.upstream.Numbers })); err != nil {
		return nil, err
	}
	p, err := r.start(t)
	if err != nil {
		return nil, err
	}
	request := s.request(p)
	err = check(s.setUp, request, s.answer, time.Minute)
	if err != nil {
		p.Stop()
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	pool, err := load.NewPool(request, s.clients)
	if err != nil {
		p.Stop()
		return nil, err
	}
	return &contestant{p, pool}, nil
}

func (r *runner) start(t target.Target) (*target.Process, error) {
	return target.Start(t, r.env, r.dir, time.Minute)
}

// startUpstream starts the upstream and says where it is to what starts later.
func (r *runner) startUpstream() (*target.Process, error) {
	for _, name := range []string{"QDRANT", "BOLT"} {
		var err error
		if r.env[name], err = target.FreeAddr(); err != nil {
			return nil, err
		}
	}
	up, err := r.start(upstreamTarget)
	if err == nil {
		r.env["MOCK"], r.env["MOCK2"] = up.Addr, up.Admin
	}
	return up, err
}

// request returns what s sends to p.
func (s scenario) request(p *target.Process) load.Request {
	path := s.path
	if path == "" {
		path = "/v1/chat/completions"
	}
	return load.Request{Addr: p.Addr, Path: p.Base + path, Header: p.Header, Body: s.body, Same: s.same}
}

// check readies a server, sends one request and looks for want in the answer. A
// server may need a moment before it answers well.
func check(setUp func(string) error, q load.Request, want string, patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		var err error
		if setUp != nil {
			err = setUp(q.Addr)
		}
		if err == nil {
			err = checkOnce(q, want)
		}
		if err == nil || time.Now().After(end) {
			return err
		}
		var refused *refusal
		if errors.As(err, &refused) && refused.status < 500 {
			return err
		}
	}
}

type refusal struct {
	status int
	body   []byte
}

func (r *refusal) Error() string { return fmt.Sprintf("status %d: %.300s", r.status, r.body) }

func checkOnce(q load.Request, want string) error {
	b, err := post("http://"+q.Addr+q.Path, q.Body, q.Header...)
	switch {
	case err != nil:
		return err
	case want != "":
		if !bytes.Contains(b, []byte(want)) {
			return fmt.Errorf("no %s in the answer: %.300s", want, b)
		}
	case !bytes.Contains(b, []byte("section")) || !bytes.Contains(b, []byte(`"stop"`)):
		return fmt.Errorf("not the upstream's answer: %.300s", b)
	}
	return nil
}

// post sends a body with the key of the benchmarks and returns the answer's, if its
// status is 200.
func post(url string, body []byte, headers ...string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+load.Key)
	req.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = &refusal{resp.StatusCode, b}
	}
	return b, err
}

// targets returns those that take part in s.
func (r *runner) targets(s scenario) []target.Target {
	var list []target.Target
	for _, name := range s.targets {
		i := slices.IndexFunc(r.builtin, func(t target.Target) bool { return t.Name == name })
		if i < 0 {
			panic("BUG: scenario " + s.name + " wants unknown target " + name)
		}
		list = append(list, r.builtin[i])
	}
	if s.peers {
		list = append(list, r.peers...)
	}
	if len(r.only) > 0 {
		list = slices.DeleteFunc(list, func(t target.Target) bool { return !slices.Contains(r.only, t.Name) })
	}
	return list
}

// note keeps a remark for the report, once.
func (r *runner) note(s string) {
	if !slices.Contains(r.notes, s) {
		r.notes = append(r.notes, s)
		fmt.Fprintln(r.progress, s)
	}
}

// wants reports whether the user lets a target run.
func (r *runner) wants(name string) bool { return len(r.only) == 0 || slices.Contains(r.only, name) }
