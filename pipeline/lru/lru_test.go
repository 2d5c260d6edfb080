package lru

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func key(i int) Key { return sha256.Sum256(fmt.Append(nil, i)) }

func TestGetAndSet(t *testing.T) {
	c := New(1 << 20)
	f := func(k int, want string, found bool) {
		t.Helper()
		got, ok := c.Get(key(k))
		if string(got) != want || ok != found {
			t.Errorf("key %d: got %q, %v; want %q, %v", k, got, ok, want, found)
		}
	}
	f(1, "", false)
	c.Set(key(1), []byte("a"), time.Minute)
	c.Set(key(2), []byte("b"), time.Minute)
	f(1, "a", true)
	f(2, "b", true)
	c.Set(key(1), []byte("longer"), time.Minute)
	f(1, "longer", true)
	c.Set(key(2), []byte("b"), 0) // nothing may be kept, so neither may what was there
	f(2, "", false)
	c.Remove(key(1))
	f(1, "", false)
	if s := c.Stats(); s.Hits != 3 || s.Misses != 3 || s.Entries != 0 || s.Bytes != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(1 << 20)
		c.Set(key(1), []byte("a"), time.Minute)
		c.Set(key(2), []byte("b"), time.Hour)
		time.Sleep(time.Minute - 1)
		if _, ok := c.Get(key(1)); !ok {
			t.Error("expired too early")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := c.Get(key(1)); ok {
			t.Error("still there after its time")
		}
		if _, ok := c.Get(key(2)); !ok {
			t.Error("the other one went with it")
		}
	})
}

func TestSetSweepsTheExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(1 << 20) // one shard, so that each Set meets the old end
		for i := range 100 {
			c.Set(key(i), []byte("x"), time.Second)
		}
		time.Sleep(time.Second)
		for i := range 60 {
			c.Set(key(1000+i), []byte("y"), time.Minute)
		}
		if s := c.Stats(); s.Entries != 60 || s.Expired != 100 || s.Evicted != 0 {
			t.Errorf("got %+v; want the 100 expired gone and 60 entries left", s)
		}
	})
}

// The account never exceeds the bound, and is exact: what is taken out brings
// it back to zero.
func TestBound(t *testing.T) {
	const size = 32 << 20
	c := New(size)
	if len(c.shards) != 4 {
		t.Fatalf("%d shards of a cache of 32 MiB; want 4", len(c.shards))
	}
	value := make([]byte, 64<<10)
	for i := range 2000 {
		c.Set(key(i), value[:1000+i*30], time.Hour)
		c.Set(key(i/2), value, time.Hour) // over an old one
		if b := c.Stats().Bytes; b > size {
			t.Fatalf("%d bytes accounted, %d allowed", b, size)
		}
	}
	s := c.Stats()
	if s.Evicted == 0 || s.Bytes < size*9/10 {
		t.Errorf("after 130 MB were put into 32 MiB: %+v", s)
	}
	for i := range 2000 {
		c.Remove(key(i))
	}
	if s := c.Stats(); s.Bytes != 0 || s.Entries != 0 {
		t.Errorf("empty, but the account says %+v", s)
	}
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := New(10 * (1000 + overhead))
	c.shards[0].limit = c.shards[0].max // sizes to count with
	for i := range 10 {
		c.Set(key(i), make([]byte, 1000), time.Hour)
	}
	c.Get(key(0))
	c.Set(key(10), make([]byte, 1000), time.Hour)
	if _, ok := c.Get(key(0)); !ok {
		t.Error("the one just used was dropped")
	}
	if _, ok := c.Get(key(1)); ok {
		t.Error("the one unused for longest is still there")
	}
}

// One large value must not flush everything else.
func TestLimit(t *testing.T) {
	c := New(1 << 20)
	c.Set(key(1), []byte("small"), time.Hour)
	n := int(c.Limit())
	if c.Set(key(2), make([]byte, n+1), time.Hour) {
		t.Error("took a value over the limit")
	}
	if !c.Set(key(3), make([]byte, n), time.Hour) {
		t.Error("refused a value at the limit")
	}
	if s := c.Stats(); s.Refused != 1 || s.Entries != 2 {
		t.Errorf("got %+v", s)
	}
	// What replaces an entry and is refused takes the entry with it: the old
	// value would be stale.
	c.Set(key(3), make([]byte, n+1), time.Hour)
	if _, ok := c.Get(key(3)); ok {
		t.Error("the old value outlived its replacement")
	}
}

func TestTinyAndZeroSizes(t *testing.T) {
	for _, size := range []int64{0, 1, overhead, 5000} {
		c := New(size)
		if c.Set(key(1), make([]byte, 1000), time.Hour) {
			t.Errorf("a cache of %d bytes took 1000", size)
		}
		if c.Limit() < 0 {
			t.Errorf("limit of %d", c.Limit())
		}
	}
}

func TestConcurrently(t *testing.T) {
	c := New(1 << 20)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 3000 {
				k := (i*7 + g) % 500
				if v, ok := c.Get(key(k)); ok && !bytes.Equal(v, fmt.Append(nil, k)) {
					t.Errorf("key %d holds %q", k, v)
				}
				c.Set(key(k), fmt.Append(nil, k), time.Duration(1+i%3)*time.Microsecond)
			}
		})
	}
	wg.Wait()
}

func TestGetAllocatesNothing(t *testing.T) {
	c := New(1 << 20)
	k := key(1)
	c.Set(k, []byte("a"), time.Hour)
	if n := testing.AllocsPerRun(1000, func() {
		if _, ok := c.Get(k); !ok {
			t.Fatal("not there")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGet(b *testing.B) {
	c := New(256 << 20)
	keys := make([]Key, 10000)
	for i := range keys {
		keys[i] = key(i)
		c.Set(keys[i], make([]byte, 1000), time.Hour)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			c.Get(keys[i%len(keys)])
		}
	})
}
