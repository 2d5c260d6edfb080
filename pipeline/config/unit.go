package config

import (
	"github.com/prometheus/client_golang/prometheus"
)

// A unit is one component of a file, from its settings to the running thing.
type unit struct {
	metrics metrics
}

type metrics struct{ reg *prometheus.Registry }

func (m *metrics) made() *prometheus.Registry { return m.reg }

func release(units []*unit) {}
