package cache

import (
	"context"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/lru"
)

// own makes a cache in memory a store.
type own struct{ *lru.Cache }

func (o own) Get(_ context.Context, key pipeline.Key) ([]byte, bool, error) {
	v, ok := o.Cache.Get(key)
	return v, ok, nil
}

func (o own) Set(_ context.Context, key pipeline.Key, value []byte, ttl time.Duration) error {
	o.Cache.Set(key, value, ttl)
	return nil
}
