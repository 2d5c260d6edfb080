package mock

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"time"
)

// Tenant is whose the graph is: the name of the key that the load shows.
const Tenant = "bench"

// ServeBolt is a Neo4j server, as much of it as the gateway talks to: bolt 5.4 as
// its protocol's description has it, https://neo4j.com/docs/bolt. It answers each
// statement with records of its kind after Settings.Cypher, and keeps nothing.
// What only plans or sets up takes no time.
func (m *Server) ServeBolt(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			b := bolt{server: m, conn: c, in: bufio.NewReader(c)}
			if err := b.run(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				fmt.Fprintln(os.Stderr, "mock: bolt:", err)
			}
		}()
	}
}

// Messages.
const (
	boltGoodbye = 0x02
	boltRun     = 0x10
	boltPull    = 0x3f
	boltSuccess = 0x70
	boltRecord  = 0x71
)

// A bolt is one connection.
type bolt struct {
	server *Server
	conn   net.Conn
	in     *bufio.Reader
	out    []byte
	open   statement // the one whose records have not been sent
}

func (b *bolt) run() error {
	var hello [20]byte // a mark, and four versions to choose from
	if _, err := io.ReadFull(b.in, hello[:]); err != nil {
		return err
	}
	if _, err := b.conn.Write([]byte{0, 0, 4, 5}); err != nil {
		return err
	}
	for {
		message, err := b.read()
		if err != nil || len(message) < 2 || message[1] == boltGoodbye {
			return err
		}
		b.answer(message[1], message[2:])
		if b.in.Buffered() > 0 {
			continue // what belongs together goes out together
		}
		if _, err := b.conn.Write(b.out); err != nil {
			return err
		}
		b.out = b.out[:0]
	}
}

// read returns the next message, its chunks joined.
func (b *bolt) read() ([]byte, error) {
	var message []byte
	for {
		var n [2]byte
		if _, err := io.ReadFull(b.in, n[:]); err != nil {
			return nil, err
		}
		size := int(binary.BigEndian.Uint16(n[:]))
		switch {
		case size == 0 && message == nil:
			continue // keeps the connection alive
		case size == 0:
			return message, nil
		case len(message)+size > 16<<20:
			return nil, errors.New("a message of more than 16 MiB")
		}
		at := len(message)
		message = append(message, make([]byte, size)...)
		if _, err := io.ReadFull(b.in, message[at:]); err != nil {
			return nil, err
		}
	}
}

func (b *bolt) answer(tag byte, fields []byte) {
	switch tag {
	case boltRun:
		b.open = statementOf(fields)
		if b.open.slow {
			time.Sleep(b.server.settings.Load().Cypher)
		}
		b.write(boltSuccess, map[string]any{"fields": b.open.fields, "t_first": 0})
	case boltPull:
		for _, r := range b.open.records {
			b.write(boltRecord, r)
		}
		end := map[string]any{"type": "r", "t_last": 0, "db": "neo4j"}
		if b.open.plan != nil {
			end["plan"] = b.open.plan
		}
		b.open = statement{}
		b.write(boltSuccess, end)
	default:
		b.write(boltSuccess, map[string]any{"server": "Neo4j/5.26.0", "connection_id": "bolt-1"})
	}
}

func (b *bolt) write(tag byte, field any) {
	p := packed([]byte{0xb1, tag}, field)
	for len(p) > 0 {
		n := min(len(p), math.MaxUint16)
		b.out = append(binary.BigEndian.AppendUint16(b.out, uint16(n)), p[:n]...)
		p = p[n:]
	}
	b.out = append(b.out, 0, 0)
}

// A statement is what one is answered with.
type statement struct {
	slow    bool
	fields  []any
	records [][]any
	plan    map[string]any
}

// statementOf knows the statements that a retrieval makes by what they return.
func statementOf(fields []byte) statement {
	const center = "queue 7"
	text := fields[:min(len(fields), 2000)]
	key := Tenant + "\x1f" + center
	switch {
	case bytes.Contains(text, []byte("EXPLAIN ")):
		leaf := map[string]any{"operatorType": "NodeIndexSeek@neo4j", "args": map[string]any{}, "identifiers": []any{}, "children": []any{}}
		return statement{plan: map[string]any{"operatorType": "ProduceResults@neo4j", "args": map[string]any{}, "identifiers": []any{}, "children": []any{leaf}}}
	case bytes.Contains(text, []byte("collect([e.id, e.name")):
		return rows([]any{center, "export job", 30})
	case bytes.Contains(text, []byte("collect([d.id, d.doc_id")):
		var near []any
		for i := range 10 {
			near = append(near, []any{fmt.Sprintf(idForm, 100+i), fmt.Sprint("manual-", 10+i/10), 1 / float64(i+2), []any{center}})
		}
		return rows(near...)
	case bytes.Contains(text, []byte("collect([n.key, n.id")):
		var edges []any
		for i := range 20 {
			id := fmt.Sprint("worker ", i)
			edges = append(edges, []any{Tenant + "\x1f" + id, id, "Entity", id, "{}", center, "SERVES", true, "{}", 1 / float64(i+2)})
		}
		return rows([]any{[]any{key, center, "Entity", center, "{}"}}, edges)
	case bytes.Contains(text, []byte("MATCH")):
		return statement{slow: true, fields: []any{"name"}, records: [][]any{{center}}}
	}
	return statement{} // sets up
}

// rows is one record with one list of them.
func rows(list ...any) statement {
	return statement{slow: true, fields: []any{"rows"}, records: [][]any{{list}}}
}

// packed appends v in the protocol's own encoding.
func packed(p []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return append(p, 0xc3)
		}
		return append(p, 0xc2)
	case int:
		return binary.BigEndian.AppendUint64(append(p, 0xcb), uint64(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(p, 0xc1), math.Float64bits(v))
	case string:
		return append(sized(p, len(v), 0x80, 0xd0), v...)
	case []any:
		p = sized(p, len(v), 0x90, 0xd4)
		for _, x := range v {
			p = packed(p, x)
		}
		return p
	case map[string]any:
		p = sized(p, len(v), 0xa0, 0xd8)
		for k, x := range v {
			p = packed(packed(p, k), x)
		}
		return p
	case nil:
		return append(p, 0xc0)
	}
	panic(fmt.Sprintf("BUG: cannot pack %T", v))
}

// sized appends how many follow: within the marker if it fits, or after it.
func sized(p []byte, n int, small, marker byte) []byte {
	switch {
	case n < 1<<4:
		return append(p, small|byte(n))
	case n < 1<<8:
		return append(p, marker, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(p, marker+1), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(p, marker+2), uint32(n))
}
