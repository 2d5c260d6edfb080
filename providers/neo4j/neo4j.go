// Package neo4j keeps the knowledge graph in a Neo4j server, from 5.26 on,
// reached over bolt.
//
// Each tenant's entities, chunks and documents carry keys that begin with the
// tenant, so that a lookup by key cannot leave it. Constraints and indexes are
// made once, in the background. Reads are single statements in read sessions,
// each with its own caps; writes are whole transactions.
package neo4j

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"
	driverconfig "github.com/neo4j/neo4j-go-driver/v5/neo4j/config"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j/notifications"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed neo4j.go
var source string

// A Graph is the knowledge graph and what answers queries about it.
type Graph interface {
	pipeline.GraphStore
	pipeline.GraphQuerier
}

// Component describes neo4j to a registry.
var Component = config.Define[Graph]("neo4j", Config{
	User:         "neo4j",
	Database:     "neo4j",
	Timeout:      5 * time.Second,
	WriteTimeout: 30 * time.Second,
	Connections:  400,
	Loops:        2,
	Procedures:   []string{"db.labels", "db.relationshipTypes", "db.propertyKeys"},
}, source)

// Config keeps the knowledge graph in a Neo4j server.
type Config struct {
	// URI of the server, such as neo4j://localhost:7687. With neo4j+s:// or
	// bolt+s:// the connection is encrypted.
	URI string `yaml:"uri" check:"required"`
	// User to log in as.
	User string `yaml:"user"`
	// Password of the user. Empty logs in without one.
	Password config.Secret `yaml:"password"`
	// Database on the server.
	Database string `yaml:"database" check:"required"`
	// Timeout bounds one reading call.
	Timeout time.Duration `yaml:"timeout" check:"min=10ms,max=5m"`
	// WriteTimeout bounds one writing call, with its repetitions.
	WriteTimeout time.Duration `yaml:"write_timeout" check:"min=100ms,max=30m"`
	// Connections is the most that are open to one server at a time; one more
	// query waits. A server has 400 threads for them, unless its own
	// server.bolt.thread_pool_max_size says otherwise.
	Connections int `yaml:"connections" check:"min=1,max=1000"`
	// Loops is how many of clients' own queries that go through lists or match regular
	// expressions the server may be busy with at a time. It cannot stop them there, so
	// that one that was given up counts until it has ended by itself.
	Loops int `yaml:"loops" check:"min=1,max=1000"`
	// Procedures are those that a client's own query may call.
	Procedures []string `yaml:"procedures"`
}

// Validate checks the address.
func (c Config) Validate() error {
	if c.URI == "" {
		return nil // reported as missing
	}
	u, err := url.Parse(c.URI)
	if err != nil || u.Hostname() == "" {
		return errors.New("uri: write it as neo4j://host:7687 or bolt://host:7687")
	}
	switch u.Scheme {
	case "neo4j", "neo4j+s", "neo4j+ssc", "bolt", "bolt+s", "bolt+ssc":
	default:
		return fmt.Errorf("uri: the scheme %q is none of neo4j, neo4j+s, neo4j+ssc, bolt, bolt+s and bolt+ssc", u.Scheme)
	}
	if u.User != nil {
		return errors.New("uri: user and password have settings of their own")
	}
	return nil
}

// Build implements config.Builder. A server that is down is no error here but
// of the calls that need it.
func (c Config) Build(_ context.Context, env config.Env) (Graph, error) {
	auth := driver.NoAuth()
	if c.Password != "" {
		auth = driver.BasicAuth(c.User, string(c.Password), "")
	}
	d, err := driver.NewDriverWithContext(c.URI, auth, func(o *driverconfig.Config) {
		o.MaxConnectionPoolSize = c.Connections
		// A pool that is used up is a reason to give up soon.
		o.ConnectionAcquisitionTimeout = 2 * time.Second
		o.SocketConnectTimeout = 2 * time.Second
		o.MaxTransactionRetryTime = min(c.WriteTimeout, 10*time.Second)
		// In an empty database every label is unknown, and each would be told.
		o.NotificationsMinSeverity = notifications.DisabledLevel
		o.TelemetryDisabled = true
	})
	if err != nil {
		return nil, fmt.Errorf("set up the connection to the graph store: %w", err)
	}
	c.Procedures = strings.Fields(strings.ToLower(strings.Join(c.Procedures, " ")))
	// The driver sets up its dialler on the first connection, without a lock:
	// that one is made, or tried, before there can be two at a time.
	first, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	_ = d.VerifyConnectivity(first)
	cancel()
	s, err := newStore(c, d, env)
	if err != nil {
		return nil, errors.Join(err, d.Close(context.Background()))
	}
	return s, nil
}
