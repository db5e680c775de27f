// franz-go: newest protocol versions and strict decoding; kadm for the admin calls.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func main() {
	a := map[string]string{}
	for _, pair := range os.Args[2:] {
		k, v, _ := strings.Cut(pair, "=")
		a[k] = v
	}
	number := func(k string) int {
		n, err := strconv.Atoi(a[k])
		must(k, err)
		return n
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	switch os.Args[1] {
	case "bulk":
		for _, c := range strings.Split(a["cases"], ",") {
			codec, acks, _ := strings.Cut(c, ":")
			name, topic := a["as"], fmt.Sprintf("%s-%s-%s", a["as"], codec, acks)
			started := time.Now()
			create(ctx, a["bootstrap"], topic, number("partitions"), nil)
			write(ctx, a["bootstrap"], topic, name, codec, acks, 0, number("count"), int64(number("base")))
			wrote := time.Now()
			read(ctx, a["bootstrap"], topic, name, 0, number("count"), int64(number("base")), number("partitions"))
			fmt.Printf("OK %s %s %s %d %.2f %.2f\n", name, codec, acks, number("count"), wrote.Sub(started).Seconds(), time.Since(wrote).Seconds())
		}
	case "write":
		write(ctx, a["bootstrap"], a["topic"], a["as"], a["codec"], a["acks"], number("from"), number("to"), int64(number("base")))
		fmt.Println("WROTE", a["topic"], a["codec"], number("to")-number("from"))
	case "read":
		for _, pair := range strings.Split(a["topics"], ",") {
			topic, name, _ := strings.Cut(pair, "=")
			started := time.Now()
			read(ctx, a["bootstrap"], topic, name, number("from"), number("to"), int64(number("base")), number("partitions"))
			fmt.Printf("READ %s %d %.2f\n", topic, number("to")-number("from"), time.Since(started).Seconds())
		}
	case "transactions":
		transactions(ctx, a["bootstrap"], a["topic"], number("partitions"), number("count"))
		fmt.Println("OK transactions")
	case "copier":
		runCopier(context.Background(), a) // As long as it is let live.
	case "crew":
		runCrew(a)
	case "member":
		member(ctx, a["bootstrap"], a["topic"], a["group"], number("silence"))
	case "admin":
		admin(ctx, a["bootstrap"], a["topic"])
		fmt.Println("OK admin")
	default:
		differ("unknown mode %s", os.Args[1])
	}
}

func client(bootstrap string, opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(bootstrap))...)
	must("client", err)
	return cl
}

// Reads as a member of a group until no record arrives for a while, commits its offsets, and leaves.
func member(ctx context.Context, bootstrap, topic, group string, silence int) {
	assigned := false
	var mu sync.Mutex
	cl := client(bootstrap, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.RangeBalancer()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {
			mu.Lock()
			assigned = true
			mu.Unlock()
		}))
	first, last, count := map[int32]int64{}, map[int32]int64{}, map[int32]int{}
	until := time.Now().Add(30 * time.Second) // The first assignment takes its time.
	for time.Now().Before(until) {
		poll, done := context.WithTimeout(ctx, 200*time.Millisecond)
		fetches := cl.PollFetches(poll)
		done()
		fetches.EachRecord(func(r *kgo.Record) {
			if count[r.Partition] == 0 {
				first[r.Partition] = r.Offset
			}
			last[r.Partition] = r.Offset
			count[r.Partition]++
			until = time.Now().Add(time.Duration(silence) * time.Second)
		})
	}
	must("commit", cl.CommitUncommittedOffsets(ctx))
	cl.Close()
	mu.Lock()
	expect("an assignment", assigned, true)
	mu.Unlock()
	for p, n := range count {
		fmt.Println("MEMBER", p, first[p], last[p], n)
	}
}

func adminOf(bootstrap string) *kadm.Client { return kadm.NewClient(client(bootstrap)) }

func create(ctx context.Context, bootstrap, topic string, partitions int, config map[string]*string) {
	adm := adminOf(bootstrap)
	defer adm.Close()
	_, err := adm.CreateTopic(ctx, int32(partitions), 1, config, topic)
	must("create "+topic, err)
	answers(ctx, adm, topic, partitions)
}

// answers waits until every leader serves its partition: a record sent before may come late (acks=1) or never (acks=0).
func answers(ctx context.Context, adm *kadm.Client, topic string, partitions int) {
	until(topic+" answers", func() bool {
		ends, err := adm.ListEndOffsets(ctx, topic)
		return err == nil && ends.Error() == nil && len(ends[topic]) == partitions
	})
}

func write(ctx context.Context, bootstrap, topic, name, codec, acks string, first, end int, base int64) {
	opts := []kgo.Opt{kgo.ProducerBatchCompression(codecs[codec]), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(5 * time.Millisecond),
		kgo.UnknownTopicRetries(20)}
	switch acks { // "all" keeps the default: idempotent.
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	}
	cl := client(bootstrap, opts...)
	defer cl.Close()
	var once sync.Once
	var failed error
	for i := first; i < end; i++ {
		r := &kgo.Record{Key: key(name, i), Value: value(name, i), Headers: headers(name, i), Timestamp: time.UnixMilli(base + int64(i))}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { failed = err })
			}
		})
	}
	must("flush "+topic, cl.Flush(ctx))
	must("produce to "+topic, failed)
}

func transactions(ctx context.Context, bootstrap, topic string, partitions, count int) {
	cl := client(bootstrap, kgo.TransactionalID(topic+"-writer"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer cl.Close()
	for tx := range count {
		must("begin", cl.BeginTransaction())
		for i := range tx % 5 * 3 {
			value := fmt.Sprintf("%d:%d", tx, i)
			r := &kgo.Record{Topic: topic, Partition: int32((tx + i) % partitions), Key: []byte("k"), Value: []byte(value)}
			cl.Produce(ctx, r, func(_ *kgo.Record, err error) { must("produce "+value, err) })
		}
		must("flush", cl.Flush(ctx))
		must("end", cl.EndTransaction(ctx, kgo.TransactionEndTry(tx%3 != 2)))
	}
}

func read(ctx context.Context, bootstrap, topic, name string, first, end int, base int64, partitions int) {
	c := newCheck(topic, name, first, end, base, partitions)
	from := map[int32]kgo.Offset{}
	for p := range partitions {
		from[int32(p)] = kgo.NewOffset().At(0)
	}
	cl := client(bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	defer cl.Close()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for c.count < end-first {
		got := cl.PollFetches(limited)
		for _, e := range got.Errors() {
			differ("%s-%d after %d records: %v", e.Topic, e.Partition, c.count, e.Err)
		}
		got.EachRecord(c.take)
	}
	adm := kadm.NewClient(cl)
	starts, err := adm.ListStartOffsets(limited, topic)
	must("start offsets", err)
	ends, err := adm.ListEndOffsets(limited, topic)
	must("end offsets", err)
	for p := range partitions {
		s, _ := starts.Lookup(topic, int32(p))
		e, _ := ends.Lookup(topic, int32(p))
		expect(fmt.Sprintf("start of %s-%d", topic, p), s.Offset, 0)
		expect(fmt.Sprintf("end of %s-%d", topic, p), e.Offset, c.next[p])
	}
	if name != "kcat" {
		for _, at := range []int64{base + int64(first), base + int64(first+end)/2, base + int64(end) - 1, base + int64(end)} {
			got, err := adm.ListOffsetsAfterMilli(limited, at, topic)
			must("offsets for a time", err)
			for p := range partitions {
				o, _ := got.Lookup(topic, int32(p))
				must("offset for a time", o.Err)
				expect(fmt.Sprintf("%s-%d offset for time %d", topic, p, at), o.Offset, c.firstAtOrAfter(p, at))
			}
		}
	}
	middle := map[int32]kgo.EpochOffset{}
	for p := range partitions {
		if c.next[p] > 0 {
			middle[int32(p)] = kgo.EpochOffset{Epoch: -1, Offset: c.next[p] / 2}
		}
	}
	cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: middle})
	for len(middle) > 0 {
		got := cl.PollFetches(limited)
		for _, e := range got.Errors() {
			differ("%s-%d after a seek: %v", e.Topic, e.Partition, e.Err)
		}
		got.EachPartition(func(t kgo.FetchTopicPartition) {
			if want, ok := middle[t.Partition]; ok && len(t.Records) > 0 {
				expect("first record after a seek", t.Records[0].Offset, want.Offset)
				delete(middle, t.Partition)
			}
		})
	}
}

func failsWith(what string, err, want error) {
	if !errors.Is(err, want) {
		differ("%s: error %v, expected %v", what, err, want)
	}
}

func admin(ctx context.Context, bootstrap, topic string) {
	adm := adminOf(bootstrap)
	defer adm.Close()
	retention := "123456789"
	made, err := adm.CreateTopic(ctx, 3, 1, map[string]*string{"retention.ms": &retention}, topic)
	must("create", err)
	expect("partitions in the answer", made.NumPartitions, 3)
	_, err = adm.CreateTopic(ctx, 1, 1, nil, topic)
	failsWith("creating a topic twice", err, kerr.TopicAlreadyExists)
	_, err = adm.CreateTopic(ctx, 1, 1, nil, "not a name")
	failsWith("a bad name", err, kerr.InvalidTopicException)
	_, err = adm.ValidateCreateTopics(ctx, 1, 1, nil, topic+"-validated")
	must("validate", err)

	var listed kadm.TopicDetails
	until("the topic is listed with leaders", func() bool {
		listed, err = adm.ListTopics(ctx)
		must("list", err)
		return listed.Has(topic) && listed[topic].Partitions[0].Err == nil
	})
	expect("validated is not created", listed.Has(topic+"-validated"), false)
	expect("the id", listed[topic].ID, made.ID)
	expect("partitions", len(listed[topic].Partitions), 3)
	meta, err := adm.BrokerMetadata(ctx)
	must("metadata", err)
	expect("a controller among the brokers", has(meta.Brokers, meta.Controller), true)
	expect("a cluster id", meta.Cluster != "", true)
	for _, p := range listed[topic].Partitions {
		expect("the leader is a broker", has(meta.Brokers, p.Leader), true)
		expect("one replica", len(p.Replicas), 1)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	must("configs", err)
	config, err := configs.On(topic, nil)
	must("configs of the topic", err)
	told := map[string]string{}
	for _, c := range config.Configs {
		told[c.Key] = c.MaybeValue()
	}
	expect("retention.ms", told["retention.ms"], retention)
	expect("cleanup.policy", told["cleanup.policy"], "delete")

	grown, err := adm.UpdatePartitions(ctx, 5, topic)
	must("partitions", err)
	must("partitions of the topic", grown.Error())
	until("5 partitions", func() bool {
		listed, err = adm.ListTopics(ctx, topic)
		must("list", err)
		return len(listed[topic].Partitions) == 5
	})
	answers(ctx, adm, topic, 5)
	grown, err = adm.UpdatePartitions(ctx, 2, topic)
	must("partitions", err)
	failsWith("fewer partitions", grown.Error(), kerr.InvalidPartitions)

	write(ctx, bootstrap, topic, "franz-go", "zstd", "all", 0, 1000, time.Now().UnixMilli()-100_000)
	ends, err := adm.ListEndOffsets(ctx, topic)
	must("ends", err)
	total := int64(0)
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	expect("the ends together", total, 1000)

	_, err = adm.DeleteTopic(ctx, topic)
	must("delete", err)
	until("the topic is gone", func() bool {
		listed, err = adm.ListTopics(ctx)
		must("list", err)
		return !listed.Has(topic)
	})
	_, err = adm.DeleteTopic(ctx, topic)
	failsWith("deleting it twice", err, kerr.UnknownTopicOrPartition)
}

func has(brokers kadm.BrokerDetails, id int32) bool {
	for _, b := range brokers {
		if b.NodeID == id {
			return true
		}
	}
	return false
}
