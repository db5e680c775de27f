package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The records that every client writes and checks, as Go makes them. The rule: tests/support/records.rs.

var pattern = func() []byte {
	out := make([]byte, 65536)
	x := uint32(1)
	for j := range out {
		x = (x*1103515245 + 12345) & 0x7fffffff
		out[j] = byte(97 + ((x >> 16) & 15))
	}
	return out
}()

func key(name string, i int) []byte { return []byte(name + "-" + strconv.Itoa(i)) }

func value(name string, i int) []byte {
	if i%50 == 0 {
		return nil
	}
	if i%50 == 1 {
		if name == "kcat" {
			return nil
		}
		return []byte{}
	}
	mixed := int((uint32(i) * 2654435761) >> 8)
	start, length := mixed%32768, mixed%197+1
	if i%1000 == 999 {
		length = 10000
	}
	return pattern[start : start+length]
}

func headers(name string, i int) []kgo.RecordHeader {
	if name == "kcat" {
		return []kgo.RecordHeader{{Key: "client", Value: []byte("kcat")}}
	}
	var none []byte
	if name == "kafka-python" || name == "kafkajs" { // They refuse to send a null header value.
		none = []byte{}
	}
	number := []byte(strconv.Itoa(i))
	switch i % 5 {
	case 1:
		return []kgo.RecordHeader{{Key: "h", Value: number}}
	case 2:
		return []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "b", Value: []byte{}}}
	case 3:
		return []kgo.RecordHeader{{Key: "n", Value: none}}
	case 4:
		return []kgo.RecordHeader{{Key: "client", Value: []byte(name)}, {Key: "n", Value: none}, {Key: "i", Value: number}}
	}
	return nil
}

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// check wants every record of [first, end) exactly once, in order within each partition, offsets without a gap.
type check struct {
	topic, name string
	first, end  int
	base        int64
	seen        []bool
	next        []int64
	last        []int
	times       [][]int64
	count       int
}

func newCheck(topic, name string, first, end int, base int64, partitions int) *check {
	c := &check{topic: topic, name: name, first: first, end: end, base: base, seen: make([]bool, end-first),
		next: make([]int64, partitions), last: make([]int, partitions), times: make([][]int64, partitions)}
	for p := range c.last {
		c.last[p] = -1
	}
	return c
}

func (c *check) take(r *kgo.Record) {
	p := int(r.Partition)
	where := fmt.Sprintf("%s-%d@%d", c.topic, p, r.Offset)
	if r.Offset != c.next[p] {
		differ("%s: offset %d was expected next", where, c.next[p])
	}
	c.next[p] = r.Offset + 1
	text, ok := strings.CutPrefix(string(r.Key), c.name+"-")
	i, err := strconv.Atoi(text)
	if !ok || err != nil || i < c.first || i >= c.end {
		differ("%s: key %q is not one of %s's", where, r.Key, c.name)
	}
	if i <= c.last[p] {
		differ("%s: record %d after %d: the order is broken", where, i, c.last[p])
	}
	c.last[p] = i
	if c.seen[i-c.first] {
		differ("%s: record %d twice", where, i)
	}
	c.seen[i-c.first] = true
	if want := value(c.name, i); !same(r.Value, want) {
		differ("%s: record %d: value %.40q of %d bytes, expected %.40q of %d", where, i, r.Value, len(r.Value), want, len(want))
	}
	want := headers(c.name, i)
	equal := len(want) == len(r.Headers)
	for n := 0; equal && n < len(want); n++ {
		equal = want[n].Key == r.Headers[n].Key && same(want[n].Value, r.Headers[n].Value)
	}
	if !equal {
		differ("%s: record %d: headers %v, expected %v", where, i, r.Headers, want)
	}
	if at := r.Timestamp.UnixMilli(); c.name != "kcat" && at != c.base+int64(i) {
		differ("%s: record %d: timestamp %d, expected %d", where, i, at, c.base+int64(i))
	}
	c.times[p] = append(c.times[p], r.Timestamp.UnixMilli())
	c.count++
}

// firstAtOrAfter is what offsets-for-times must answer; past the last record kadm answers the end.
func (c *check) firstAtOrAfter(p int, at int64) int64 {
	for offset, t := range c.times[p] {
		if t >= at {
			return int64(offset)
		}
	}
	return c.next[p]
}

func differ(format string, a ...any) {
	fmt.Printf("DIFF "+format+"\n", a...)
	os.Exit(1)
}

func expect[T comparable](what string, got, want T) {
	if got != want {
		differ("%s: got %v, expected %v", what, got, want)
	}
}

func must(what string, err error) {
	if err != nil {
		differ("%s: %v", what, err)
	}
}

func until(what string, condition func() bool) {
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			differ("not in time: %s", what)
		}
	}
}
