package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A copier copies a topic in transactions, as a member of a group. It prints the outcome of each transaction: COMMITTED,
// ABORTED (on purpose), HALTED (at the requested point) and REFUSED, each with id, incarnation and number.
type copier struct {
	a           map[string]string
	incarnation int
	isOver      atomic.Bool
	haltAt      atomic.Value
	goOn        chan struct{}
	tag         string // Of the transaction under way.
	wasHalted   bool
}

func runCopier(ctx context.Context, a map[string]string) {
	c := &copier{a: a, goOn: make(chan struct{}, 1)}
	c.haltAt.Store("")
	c.incarnation, _ = strconv.Atoi(a["incarnation"])
	go c.listen()
	for !c.isOver.Load() {
		if err := c.copy(ctx); err != nil {
			// After a fatal error the program starts over, and its transactional id ends the open transaction.
			fmt.Println("GAVE UP", err)
			time.Sleep(100 * time.Millisecond)
		}
		c.incarnation++
	}
}

func (c *copier) listen() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch line := in.Text(); {
		case line == "end":
			c.isOver.Store(true)
		case line == "go on":
			c.goOn <- struct{}{}
		case strings.HasPrefix(line, "halt "):
			c.haltAt.Store(strings.TrimPrefix(line, "halt "))
		}
	}
}

func (c *copier) halt(place string) {
	if c.haltAt.CompareAndSwap(place, "") {
		c.wasHalted = true
		fmt.Println("HALTED", c.tag)
		<-c.goOn
	}
}

// OnBrokerRead is where to halt between the offsets and the commit: the session does both in one call.
func (c *copier) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == kmsg.TxnOffsetCommit.Int16() && err == nil {
		c.halt("commit")
	}
}

func ms(text string) time.Duration {
	n, err := strconv.Atoi(text)
	must("milliseconds", err)
	return time.Duration(n) * time.Millisecond
}

func (c *copier) copy(ctx context.Context) error {
	a := c.a
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(a["bootstrap"]), kgo.TransactionalID(a["id"]), kgo.TransactionTimeout(ms(a["transaction"])),
		kgo.ConsumerGroup(a["group"]), kgo.ConsumeTopics(a["input"]), kgo.Balancers(kgo.RangeBalancer()),
		kgo.SessionTimeout(ms(a["session"])), kgo.HeartbeatInterval(500*time.Millisecond), kgo.RebalanceTimeout(ms(a["rebalance"])),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMinBytes(2000), kgo.FetchMaxWait(100*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequestTimeoutOverhead(5*time.Second), kgo.WithHooks(c))
	if err != nil {
		return err
	}
	defer session.Close()
	for number := 0; !c.isOver.Load(); {
		poll, done := context.WithTimeout(ctx, 200*time.Millisecond)
		fetches := session.PollRecords(poll, 40)
		done()
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) {
				return fmt.Errorf("poll: %w", e.Err)
			}
		}
		if fetches.NumRecords() == 0 {
			continue
		}
		if err := c.transaction(ctx, session, fetches.Records(), number); err != nil {
			return err
		}
		number++
	}
	return nil
}

func (c *copier) transaction(ctx context.Context, session *kgo.GroupTransactSession, records []*kgo.Record, number int) error {
	partitions, err := strconv.Atoi(c.a["partitions"])
	must("partitions", err)
	c.tag = fmt.Sprintf("%s %d %d", c.a["id"], c.incarnation, number)
	c.wasHalted = false
	aborts := number%7 == 6
	if err := session.Begin(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	flag := 0
	if aborts {
		flag = 1
	}
	var failed atomic.Value
	for i, r := range records {
		key, err := strconv.Atoi(string(r.Key[1:]))
		must("a key's number", err)
		value := fmt.Sprintf("%s|%d|%d|%d|%d|%d|%d|%d|%s", c.a["id"], c.incarnation, number, i, len(records), flag, r.Partition, r.Offset, r.Value)
		copied := &kgo.Record{Topic: c.a["output"], Partition: int32(key % partitions), Key: r.Key, Value: []byte(value)}
		session.Produce(ctx, copied, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(err)
			}
		})
	}
	if err := session.Client().Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	end := kgo.TryCommit
	if aborts || failed.Load() != nil {
		end = kgo.TryAbort
	} else {
		c.halt("offsets")
	}
	committed, err := session.End(ctx, end)
	switch {
	case committed:
		fmt.Println("COMMITTED", c.tag, len(records))
	case aborts:
		fmt.Println("ABORTED", c.tag)
	case c.wasHalted:
		fmt.Println("REFUSED", c.tag, err)
	default:
		fmt.Println("FAILED", c.tag, err, failed.Load())
	}
	return err
}
