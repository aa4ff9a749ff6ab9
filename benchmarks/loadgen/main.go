// Loadgen makes gRPC calls for the benchmarks at a cost below the server's: prepared HTTP/2 frames,
// one read and one write for all calls of a connection that are due. A call of one of its callers
// begins when that caller's last reply has arrived.
//
// The first line that it reads is its configuration as a JSON object. It prints a line of JSON when it
// is connected, and then one for each line that it reads, with what it measured since that line.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"syscall"
	"time"
)

const maxConfig = 1 << 26

type config struct {
	Mode          string // "calls" or "streams"
	Address       string
	CA            string // A file with the server's certificate; without it, no TLS.
	Path          string
	Authorization string
	TimeoutS      int      // The deadline of a call; 0 for none.
	Requests      []string // Messages in base64, sent in turn.
	Connections   int
	Callers       int // The calls in flight, or the open streams, over all connections.
	Count         int // The calls for each line that is read.
}

type result struct {
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	CPU     float64 `json:"generator_cpu_s"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run() error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxConfig)
	lines.Scan()
	var config config
	if err := json.Unmarshal(lines.Bytes(), &config); err != nil {
		return err
	}
	requests := make([][]byte, len(config.Requests))
	for i, encoded := range config.Requests {
		request, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return err
		}
		requests[i] = request
	}
	connections := make([]*connection, config.Connections)
	for i := range connections {
		connection, err := dial(&config)
		if err != nil {
			return err
		}
		connections[i] = connection
	}
	if config.Mode == "streams" {
		return watch(connections, requests[0], config.Callers, lines)
	}
	turn := 0
	fmt.Println("{}")
	for lines.Scan() {
		measured, err := measure(connections, requests, &turn, &config)
		if err != nil {
			return err
		}
		print(measured)
	}
	return nil
}

func measure(connections []*connection, requests [][]byte, turn *int, config *config) (result, error) {
	started, cpu := time.Now(), cpuS()
	many := len(connections)
	failed := make(chan error, many)
	all := make([]*callers, many)
	for i, connection := range connections {
		all[i] = &callers{
			connection: connection, requests: requests, turn: *turn + i*config.Count/many,
			left: config.Count / many, began: map[uint32]time.Time{}, answered: map[uint32]bool{},
		}
		go func(c *callers) { failed <- c.run(config.Callers / many) }(all[i])
	}
	*turn += config.Count
	for range connections {
		if err := <-failed; err != nil {
			return result{}, err
		}
	}
	seconds := time.Since(started).Seconds()
	var delays []float64
	for _, one := range all {
		delays = append(delays, one.delays...)
	}
	return result{seconds, percentile(delays, 0.5), percentile(delays, 0.99), cpuS() - cpu}, nil
}

// The callers of one connection.
type callers struct {
	connection *connection
	requests   [][]byte
	turn       int
	left       int
	began      map[uint32]time.Time
	answered   map[uint32]bool
	delays     []float64
}

func (c *callers) run(count int) error {
	for i := 0; i < count && c.left > 0; i++ {
		c.begin()
	}
	if err := c.connection.flush(); err != nil {
		return err
	}
	for len(c.began) > 0 {
		if err := c.connection.read(c); err != nil {
			return err
		}
	}
	return nil
}

func (c *callers) begin() {
	c.left--
	stream := c.connection.call(c.requests[c.turn%len(c.requests)])
	c.turn++
	c.began[stream] = time.Now()
}

func (c *callers) message(stream uint32) { c.answered[stream] = true }

func (c *callers) ended(stream uint32) error {
	// A call that fails has trailers and no message.
	if !c.answered[stream] {
		return fmt.Errorf("the call on stream %d failed", stream)
	}
	c.delays = append(c.delays, float64(time.Since(c.began[stream]).Nanoseconds())/1e3)
	delete(c.began, stream)
	delete(c.answered, stream)
	if c.left > 0 {
		c.begin()
	}
	return nil
}

func percentile(values []float64, share float64) float64 {
	sort.Float64s(values)
	return values[min(int(float64(len(values))*share), len(values)-1)]
}

func print(value any) {
	encoded, _ := json.Marshal(value)
	fmt.Println(string(encoded))
}

// CPU seconds of this process.
func cpuS() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
