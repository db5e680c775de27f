package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A crew is many members of one group in one process. It takes commands to join, leave and crash, and prints every step
// of every member in order (tests/crash/many_members/step.rs).
type crew struct {
	mu      sync.Mutex
	a       map[string]string
	members map[string]*worker
	leaving sync.WaitGroup
}

type worker struct {
	crew      *crew
	name      string
	cl        *kgo.Client
	isCrashed bool // Under the crew's lock.
	conns     map[net.Conn]bool
	ctx       context.Context
	cancel    context.CancelFunc
	leave     chan struct{}
	mu        sync.Mutex
	read      map[int32]int64 // What was read and is not committed yet: where to go on.
	held      map[int32]bool
}

func runCrew(a map[string]string) {
	c := &crew{a: a, members: map[string]*worker{}}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch word, name, _ := strings.Cut(in.Text(), " "); word {
		case "join":
			c.join(name)
		case "leave":
			if w := c.members[name]; w != nil {
				delete(c.members, name)
				close(w.leave)
			}
		case "crash":
			if w := c.members[name]; w != nil {
				delete(c.members, name)
				w.crash()
			}
		case "end":
			for _, w := range c.members {
				close(w.leave)
			}
			c.leaving.Wait()
			return
		}
	}
}

// say prints a step, unless the member has crashed.
func (w *worker) say(verb string, what ...any) {
	w.crew.mu.Lock()
	defer w.crew.mu.Unlock()
	if !w.isCrashed {
		w.tell(verb, what...)
	}
}

func (w *worker) tell(verb string, what ...any) {
	fmt.Println(append([]any{time.Now().UnixMicro(), w.name, verb}, what...)...)
}

func numbers(partitions []int32) string {
	slices.Sort(partitions)
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(partitions), " ", ","), "[]")
}

func (c *crew) join(name string) {
	w := &worker{crew: c, name: name, conns: map[net.Conn]bool{}, leave: make(chan struct{}),
		read: map[int32]int64{}, held: map[int32]bool{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	a := c.a
	opts := []kgo.Opt{
		kgo.WithContext(w.ctx), kgo.Dialer(w.dial), kgo.ClientID(name), kgo.ConsumerGroup(a["group"]), kgo.ConsumeTopics(a["topic"]), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.SessionTimeout(ms(a["session"])), kgo.RebalanceTimeout(ms(a["rebalance"])), kgo.HeartbeatInterval(time.Second),
		kgo.OnPartitionsAssigned(w.assigned), kgo.OnPartitionsRevoked(w.revoked), kgo.OnPartitionsLost(w.lost),
	}
	switch a["protocol"] {
	case "cooperative":
		opts = append(opts, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	case "consumer":
		opts = append(opts, kgo.Balancers(kgo.RangeBalancer()), kgo.ServerSideBalancer())
	default:
		opts = append(opts, kgo.Balancers(kgo.RangeBalancer()))
	}
	w.say("JOINS")
	w.cl = client(a["bootstrap"], opts...)
	c.members[name] = w
	c.leaving.Add(1)
	go w.work()
}

func (w *worker) dial(ctx context.Context, network, host string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, host)
	w.crew.mu.Lock()
	defer w.crew.mu.Unlock()
	if err == nil && w.isCrashed {
		conn.Close()
		err = errors.New("crashed")
	}
	if err == nil {
		w.conns[conn] = true
	}
	return conn, err
}

// crash cuts every connection and lets none be opened any more: to the broker that is what a killed process is.
func (w *worker) crash() {
	w.crew.mu.Lock()
	w.tell("CRASHES") // The member's last line.
	w.isCrashed = true
	for conn := range w.conns {
		conn.Close()
	}
	w.crew.mu.Unlock()
	w.cancel()
}

func (w *worker) generation() int32 {
	_, generation := w.cl.GroupMetadata()
	return generation
}

func (w *worker) assigned(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
	partitions := topics[w.crew.a["topic"]]
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range partitions {
		w.held[p] = true
	}
	w.say("ASSIGNED", w.generation(), numbers(partitions))
}

func (w *worker) revoked(ctx context.Context, _ *kgo.Client, topics map[string][]int32) {
	w.commit(ctx)
	w.gives("REVOKED", topics[w.crew.a["topic"]])
}

func (w *worker) lost(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
	w.gives("LOST", topics[w.crew.a["topic"]])
}

func (w *worker) gives(verb string, partitions []int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	partitions = slices.DeleteFunc(slices.Clone(partitions), func(p int32) bool { return !w.held[p] })
	for _, p := range partitions {
		delete(w.held, p)
		delete(w.read, p)
	}
	if len(partitions) > 0 {
		w.say(verb, w.generation(), numbers(partitions))
	}
}

// commit commits the offsets read since the last commit. The caller is in a poll or a callback, so no partition is revoked.
func (w *worker) commit(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.read) == 0 {
		return
	}
	offsets := map[int32]kgo.EpochOffset{}
	var told []string
	for p, offset := range w.read {
		offsets[p] = kgo.EpochOffset{Epoch: -1, Offset: offset}
		told = append(told, fmt.Sprintf("%d:%d", p, offset))
	}
	for {
		var failed error
		generation := w.generation()
		w.cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{w.crew.a["topic"]: offsets},
			func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
				if failed = err; err != nil {
					return
				}
				for _, topic := range answer.Topics {
					for _, p := range topic.Partitions {
						if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
							failed = err
						}
					}
				}
			})
		// The member's epoch has grown on the way (KIP-848): with the new one it is right.
		if errors.Is(failed, kerr.StaleMemberEpoch) && w.generation() > generation {
			continue
		}
		if failed != nil {
			w.say("FAILED", generation, strings.Join(told, ","), failed)
		} else {
			w.say("COMMITTED", generation, strings.Join(told, ","))
			clear(w.read)
		}
		return
	}
}

func (w *worker) work() {
	defer w.crew.leaving.Done()
	for isOver := false; !isOver; {
		poll, done := context.WithTimeout(w.ctx, 200*time.Millisecond)
		fetches := w.cl.PollRecords(poll, 100)
		done()
		fetches.EachPartition(func(at kgo.FetchTopicPartition) {
			if n := len(at.Records); n > 0 {
				first, last := at.Records[0].Offset, at.Records[n-1].Offset
				w.mu.Lock()
				w.read[at.Partition] = last + 1
				w.mu.Unlock()
				w.say("READ", at.Partition, first, last)
			}
		})
		if rand.N(2) == 0 {
			w.commit(w.ctx)
		}
		w.cl.AllowRebalance()
		select {
		case <-w.ctx.Done():
			return // What a crashed member has is not given back.
		case <-w.leave:
			isOver = true
		default:
		}
	}
	w.cl.CloseAllowingRebalance()
	w.say("LEFT")
}
