package cache

import "github.com/prometheus/client_golang/prometheus"

// counts are the stage's metrics, resolved once.
type counts struct {
	hit, miss, bypass     prometheus.Counter
	stored, unfit, failed prometheus.Counter
}

func (c *counts) register(r prometheus.Registerer) error {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_cache_requests_total",
		Help: "Requests that reached the cache, by how it took part in the answer.",
	}, []string{"result"})
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_cache_answers_total",
		Help: "Fresh answers by whether they were kept: stored, unfit to be kept, or failed for an error of the store.",
	}, []string{"result"})
	for _, v := range []prometheus.Collector{requests, answers} {
		if err := r.Register(v); err != nil {
			return err
		}
	}
	c.hit, c.miss, c.bypass = requests.WithLabelValues(hit), requests.WithLabelValues(miss), requests.WithLabelValues(bypass)
	c.stored, c.unfit, c.failed = answers.WithLabelValues("stored"), answers.WithLabelValues("unfit"), answers.WithLabelValues("failed")
	return nil
}
