package mock

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// A Client steers the upstream that listens on Addr, host and port.
type Client struct{ Addr string }

// Set changes how the upstream behaves from now on, and forgets its statistics.
func (c Client) Set(s Settings) error {
	if err := c.get("/_mock/set?"+s.query(), nil); err != nil {
		return err
	}
	_, err := c.Stats()
	return err
}

// Stats returns what happened since the last call.
func (c Client) Stats() (Stats, error) {
	var s Stats
	err := c.get("/_mock/stats", &s)
	return s, err
}

func (c Client) get(path string, v any) error {
	resp, err := http.Get("http://" + c.Addr + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("mock upstream: %s: status %d: %s", path, resp.StatusCode, b)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(b, v)
}
