package config

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// careful is the registry that a component gets. What it registers is asked for its numbers
// on goroutines on which a panic would end the process, and with it everybody's requests.
type careful struct{ to prometheus.Registerer }

// Register implements prometheus.Registerer.
func (r careful) Register(c prometheus.Collector) error {
	err := r.to.Register(&collector{c})
	if e, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		// Who registers what is there uses that instead, as what it is.
		if known, ok := e.ExistingCollector.(*collector); ok {
			e.ExistingCollector = known.Collector
		}
		e.NewCollector = c
		return e
	}
	return err
}

// MustRegister implements prometheus.Registerer.
func (r careful) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// Unregister implements prometheus.Registerer.
func (r careful) Unregister(c prometheus.Collector) bool { return r.to.Unregister(c) }

// A collector makes an error of a panic.
type collector struct{ prometheus.Collector }

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	all := make(chan prometheus.Metric)
	go func() {
		defer close(all)
		if err := guarded(func() error { c.Collector.Collect(all); return nil }); err != nil {
			all <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		}
	}()
	for m := range all {
		to <- metric{m}
	}
}

// A metric makes an error of a panic: some work out their number only when it is written.
type metric struct{ prometheus.Metric }

// Write implements prometheus.Metric.
func (m metric) Write(to *dto.Metric) error {
	return guarded(func() error { return m.Metric.Write(to) })
}
