package main

// An HPACK encoder (RFC 7541) that sends what the encoder of grpc-go sends: every field is added
// to the dynamic table, so that a later request is a few indices and its grpc-timeout.

const (
	tableBytes    = 4096
	entryOverhead = 32
	staticCount   = 61
)

// The entries of the static table that a call uses (appendix A).
var static = map[field]int{
	{":method", "POST"}:  3,
	{":scheme", "http"}:  6,
	{":scheme", "https"}: 7,
}

var staticNames = map[string]int{
	":authority": 1, ":path": 4, "authorization": 23, "content-type": 31, "te": 0, "user-agent": 58,
}

type field struct{ name, value string }

type encoder struct {
	// The newest entry first.
	table []field
	size  int
}

func (e *encoder) append(out []byte, fields []field) []byte {
	for _, one := range fields {
		out = e.appendField(out, one)
	}
	return out
}

func (e *encoder) appendField(out []byte, one field) []byte {
	if index := static[one]; index != 0 {
		return appendInteger(out, 0x80, 7, index)
	}
	name := staticNames[one.name]
	for position, entry := range e.table {
		if entry == one {
			return appendInteger(out, 0x80, 7, staticCount+1+position)
		}
		if name == 0 && entry.name == one.name {
			name = staticCount + 1 + position
		}
	}
	out = appendInteger(out, 0x40, 6, name)
	if name == 0 {
		out = appendString(out, one.name)
	}
	e.add(one)
	return appendString(out, one.value)
}

func (e *encoder) add(one field) {
	e.size += len(one.name) + len(one.value) + entryOverhead
	e.table = append(e.table, field{})
	copy(e.table[1:], e.table)
	e.table[0] = one
	for e.size > tableBytes {
		last := e.table[len(e.table)-1]
		e.size -= len(last.name) + len(last.value) + entryOverhead
		e.table = e.table[:len(e.table)-1]
	}
}

func appendInteger(out []byte, first byte, bits, value int) []byte {
	limit := 1<<bits - 1
	if value < limit {
		return append(out, first|byte(value))
	}
	out = append(out, first|byte(limit))
	for value -= limit; value >= 0x80; value >>= 7 {
		out = append(out, byte(value)|0x80)
	}
	return append(out, byte(value))
}

// Huffman's code of the characters of a grpc-timeout (appendix B).
func code(character byte) (bits uint64, length int) {
	switch {
	case character >= '0' && character <= '2':
		return uint64(character - '0'), 5
	case character >= '3' && character <= '9':
		return 0x19 + uint64(character-'3'), 6
	case character == 'u':
		return 0x2d, 6
	}
	return 0, 0
}

// A string, in Huffman's code if it has only characters of a grpc-timeout.
func appendString(out []byte, text string) []byte {
	var bits uint64
	length := 0
	for i := 0; i < len(text); i++ {
		more, count := code(text[i])
		if count == 0 || length > 56 {
			out = appendInteger(out, 0, 7, len(text))
			return append(out, text...)
		}
		bits, length = bits<<count|more, length+count
	}
	for length%8 != 0 {
		bits, length = bits<<1|1, length+1
	}
	out = appendInteger(out, 0x80, 7, length/8)
	for length > 0 {
		length -= 8
		out = append(out, byte(bits>>length))
	}
	return out
}
