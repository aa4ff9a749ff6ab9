package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// Frame types and flags (RFC 9113, section 6).
const (
	data, headers, rstStream, settings, ping, goaway, windowUpdate = 0, 1, 3, 4, 6, 7, 8
	endStream, ack, endHeaders                                     = 1, 1, 4
	headBytes                                                      = 9
	initialWindow                                                  = 1 << 30
)

// What the server did on a stream.
type handler interface {
	// Bytes of a reply have arrived.
	message(stream uint32)
	// The stream is over; the output of `out` is sent when all received bytes are handled.
	ended(stream uint32) error
}

type connection struct {
	conn    net.Conn
	encoder encoder
	fields  []field
	timeout time.Duration
	next    uint32
	out     []byte
	in      []byte
	held    int
	taken   int
}

func dial(config *config) (*connection, error) {
	plain, err := net.Dial("tcp", config.Address)
	if err != nil {
		return nil, err
	}
	scheme, conn := "http", plain
	if config.CA != "" {
		pem, err := os.ReadFile(config.CA)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		secure := tls.Client(plain, &tls.Config{
			RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"},
		})
		if err := secure.Handshake(); err != nil {
			return nil, err
		}
		scheme, conn = "https", secure
	}
	c := &connection{conn: conn, next: 1, in: make([]byte, 1<<18)}
	c.timeout = time.Duration(config.TimeoutS) * time.Second
	c.fields = []field{
		{":method", "POST"}, {":scheme", scheme}, {":path", config.Path},
		{":authority", config.Address}, {"content-type", "application/grpc"},
		{"user-agent", "loadgen/1"}, {"te", "trailers"},
	}
	if config.Authorization != "" {
		c.fields = append(c.fields, field{"authorization", config.Authorization})
	}
	c.out = append(c.out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
	c.frame(settings, 0, 0, 12)
	c.out = append(c.out, 0, 2, 0, 0, 0, 0) // ENABLE_PUSH
	c.out = append(c.out, 0, 4)             // INITIAL_WINDOW_SIZE
	c.out = binary.BigEndian.AppendUint32(c.out, initialWindow)
	c.frame(windowUpdate, 0, 0, 4)
	c.out = binary.BigEndian.AppendUint32(c.out, initialWindow)
	return c, c.flush()
}

func (c *connection) frame(kind, flags byte, stream uint32, length int) {
	c.out = append(c.out, byte(length>>16), byte(length>>8), byte(length), kind, flags)
	c.out = binary.BigEndian.AppendUint32(c.out, stream)
}

// Queues a request and returns its stream.
func (c *connection) call(request []byte) uint32 {
	stream := c.next
	c.next += 2
	start := len(c.out)
	c.frame(headers, endHeaders, stream, 0)
	c.out = c.encoder.append(c.out, c.fields)
	if c.timeout > 0 {
		// What is left of the deadline, which is another number for each call.
		left := c.timeout.Microseconds() - int64(time.Now().Nanosecond()/1000)
		c.out = c.encoder.appendField(c.out, field{"grpc-timeout", strconv.FormatInt(left, 10) + "u"})
	}
	length := len(c.out) - start - headBytes
	c.out[start+1], c.out[start+2] = byte(length>>8), byte(length)
	c.frame(data, endStream, stream, len(request)+5)
	c.out = append(c.out, 0)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(request)))
	c.out = append(c.out, request...)
	return stream
}

func (c *connection) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// Reads once, and passes on what has arrived.
func (c *connection) read(to handler) error {
	if c.held == len(c.in) {
		return errors.New("a frame is too long")
	}
	count, err := c.conn.Read(c.in[c.held:])
	if err != nil {
		return err
	}
	c.held += count
	position := 0
	for c.held-position >= headBytes {
		head := c.in[position : position+headBytes]
		length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		stop := position + headBytes + length
		if stop > c.held {
			break
		}
		if err := c.handle(head, c.in[position+headBytes:stop], to); err != nil {
			return err
		}
		position = stop
	}
	c.held = copy(c.in, c.in[position:c.held])
	return c.flush()
}

func (c *connection) handle(head, payload []byte, to handler) error {
	kind, flags := head[3], head[4]
	stream := binary.BigEndian.Uint32(head[5:])
	switch kind {
	case data:
		if c.taken += len(payload); c.taken > initialWindow/2 {
			c.frame(windowUpdate, 0, 0, 4)
			c.out = binary.BigEndian.AppendUint32(c.out, uint32(c.taken))
			c.taken = 0
		}
		if len(payload) > 0 {
			to.message(stream)
		}
	case settings:
		if flags&ack == 0 {
			c.frame(settings, ack, 0, 0)
		}
	case ping:
		if flags&ack == 0 {
			c.frame(ping, ack, 0, len(payload))
			c.out = append(c.out, payload...)
		}
	case rstStream:
		return fmt.Errorf("stream %d was reset", stream)
	case goaway:
		return fmt.Errorf("GOAWAY: %q", payload)
	}
	if (kind == headers || kind == data) && flags&endStream != 0 {
		return to.ended(stream)
	}
	return nil
}
