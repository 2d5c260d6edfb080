package proxy

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/headrace/headrace/pipeline"
)

// metrics are what the edge counts. Handles are resolved when a snapshot is
// built, so that counting a request looks nothing up.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	first    *prometheus.HistogramVec
	answers  *prometheus.CounterVec
	inFlight prometheus.Gauge
	panics   prometheus.Counter
	turned   prometheus.Counter
	unlogged prometheus.Counter
	reloads  *prometheus.CounterVec
}

// buckets are in seconds, from a cache hit to a long completion.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headrace_requests_total", Help: "Requests answered, by route and by class of the status.",
		}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "headrace_request_duration_seconds", Help: "From the arrival of the request to the last byte of its answer.", Buckets: buckets,
		}, []string{"route"}),
		first: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "headrace_time_to_first_chunk_seconds", Help: "From the arrival of the request to the first piece of a streamed answer.", Buckets: buckets,
		}, []string{"route"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headrace_answers_total", Help: "Answers by the target that gave them and by whose fault an error is.",
		}, []string{"target", "fault"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "headrace_requests_in_flight", Help: "Requests being served, streams included.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headrace_panics_total", Help: "Stages that panicked. Each cost one request; the log has the stack.",
		}),
		turned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headrace_connections_turned_away_total", Help: "Connections above the limit.",
		}),
		unlogged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headrace_access_log_dropped_total", Help: "Access log lines dropped because the log could not be written fast enough.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headrace_reloads_total", Help: "Configurations loaded while running, by result.",
		}, []string{"result"}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.first, m.answers, m.inFlight, m.panics, m.turned, m.unlogged, m.reloads,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) route(name string) routeMetrics {
	r := routeMetrics{duration: m.duration.WithLabelValues(name), firstByte: m.first.WithLabelValues(name)}
	for i := 1; i < len(r.requests); i++ {
		r.requests[i] = m.requests.WithLabelValues(name, strconv.Itoa(i)+"xx")
	}
	return r
}

func (m *metrics) target(name string) (t targetMetrics) {
	for f := range t {
		t[f] = m.answers.WithLabelValues(name, pipeline.Fault(f).String())
	}
	return t
}

// account writes a finished request into metrics and access log.
func (s *Server) account(j *job) {
	took := time.Since(j.began)
	r := j.route
	if r == nil {
		r = j.site.nowhere
	}
	if class := j.status / 100; class > 0 && class < len(r.metrics.requests) {
		r.metrics.requests[class].Inc()
	}
	r.metrics.duration.Observe(took.Seconds())
	if j.firstByte > 0 {
		r.metrics.firstByte.Observe(j.firstByte.Seconds())
	}
	if j.ex != nil {
		j.countAnswer()
	}
	s.access.write(j, took)
}

// countAnswer counts the answer for the target that gave it.
func (j *job) countAnswer() {
	t := j.asked()
	if t == nil || t.Index >= len(j.site.targets) {
		return
	}
	fault := j.ex.Response.Fault
	if j.err != nil {
		fault = pipeline.FaultOfError(j.err)
	}
	if int(fault) >= len(targetMetrics{}) {
		fault = pipeline.GatewayFault // no fault that there is
	}
	j.site.targets[t.Index][fault].Inc()
}
