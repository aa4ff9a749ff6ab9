package main

import (
	"bufio"
	"fmt"
	"sync"
	"time"
)

// The streams that have received nothing since the last line was read.
type watchers struct {
	lock    sync.Mutex
	waiting map[watcher]bool
	started time.Time
	delays  []float64
	all     chan struct{}
}

type watcher struct {
	connection *connection
	stream     uint32
}

// Opens streams, and reports for each line that is read when each stream has received a message.
func watch(connections []*connection, request []byte, count int, lines *bufio.Scanner) error {
	w := &watchers{waiting: map[watcher]bool{}, all: make(chan struct{}, 1)}
	opened := make([]watcher, count)
	for i := range opened {
		c := connections[i%len(connections)]
		opened[i] = watcher{c, c.call(request)}
	}
	w.expect(opened)
	failed := make(chan error, len(connections))
	for _, one := range connections {
		if err := one.flush(); err != nil {
			return err
		}
		go func(c *connection) {
			to := &received{w, c}
			for {
				if err := c.read(to); err != nil {
					failed <- err
					return
				}
			}
		}(one)
	}
	for first := true; first || lines.Scan(); first = false {
		cpu := cpuS()
		if !first {
			w.expect(opened)
			fmt.Println("{}")
		}
		select {
		case err := <-failed:
			return err
		case <-w.all:
		}
		w.lock.Lock()
		seconds := time.Since(w.started).Seconds()
		print(result{seconds, percentile(w.delays, 0.5), percentile(w.delays, 0.99), cpuS() - cpu})
		w.lock.Unlock()
	}
	return nil
}

func (w *watchers) expect(streams []watcher) {
	w.lock.Lock()
	defer w.lock.Unlock()
	for _, one := range streams {
		w.waiting[one] = true
	}
	w.delays, w.started = nil, time.Now()
}

type received struct {
	watchers   *watchers
	connection *connection
}

func (r *received) message(stream uint32) {
	w, one := r.watchers, watcher{r.connection, stream}
	w.lock.Lock()
	defer w.lock.Unlock()
	if !w.waiting[one] {
		return
	}
	delete(w.waiting, one)
	w.delays = append(w.delays, float64(time.Since(w.started).Nanoseconds())/1e3)
	if len(w.waiting) == 0 {
		w.all <- struct{}{}
	}
}

func (r *received) ended(stream uint32) error {
	return fmt.Errorf("stream %d ended", stream)
}
