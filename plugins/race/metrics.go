package race

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	won, lost, failed prometheus.Counter
	failovers         prometheus.Counter
	budget, once      prometheus.Counter
	delay             *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	hedges := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_race_hedges_total",
		Help: "Requests sent to another target because one was slow, by what became of it: won, lost (or no longer waited for), failed.",
	}, []string{"result"})
	failovers := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "headrace_race_failovers_total",
		Help: "Requests sent to another target because one had failed.",
	})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_race_refused_total",
		Help: "Requests not sent to another target, by reason: budget (spent), must_not_run_twice (each such request, needed or not).",
	}, []string{"reason"})
	delay := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "headrace_race_delay_seconds",
		Help: "How long a target may take before another is asked.",
	}, []string{"target", "operation", "stream"})
	reg.MustRegister(hedges, failovers, refused, delay)
	return &metrics{
		won:       hedges.WithLabelValues("won"),
		lost:      hedges.WithLabelValues("lost"),
		failed:    hedges.WithLabelValues("failed"),
		failovers: failovers,
		budget:    refused.WithLabelValues("budget"),
		once:      refused.WithLabelValues("must_not_run_twice"),
		delay:     delay,
	}
}

func (m *metrics) hedge(won, failed bool) prometheus.Counter {
	switch {
	case won:
		return m.won
	case failed:
		return m.failed
	}
	return m.lost
}
