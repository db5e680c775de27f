"""confluent-kafka, that is librdkafka: what the C client and everything bound to it (Go, .NET, Rust, ...) sees."""

import sys
import time

import librdkafka_groups
import records
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka import TopicCollection
from copier import Copier
from records import Check, Difference, expect, say, until
from steps import Teller

SECONDS = 60


def create(bootstrap, topic, partitions, config=None):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config or {})
    for future in admin.create_topics([new], operation_timeout=30).values():
        future.result()
    until(f"{topic} answers", 60, lambda: answers(admin, topic, partitions))


def answers(admin, topic, partitions):
    """Whether every leader serves its partition. A record sent before that may come late (acks=1) or never (acks=0)."""
    spec = {TopicPartition(topic, p): OffsetSpec.latest() for p in range(partitions)}
    try:
        return all(f.result().offset == 0 for f in admin.list_offsets(spec).values())
    except KafkaException:
        return False  # Five errors say "not yet" here; one that stays is found by the deadline.


def write(bootstrap, topic, name, codec, acks, first, end, base):
    failed = []

    def delivered(error, message):
        if error is not None:
            failed.append(error)

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": codec,
            "acks": acks,
            "enable.idempotence": acks == "all",
            "linger.ms": 5,
            "queue.buffering.max.messages": 200000,
            "partitioner": "murmur2_random",
        }
    )
    for i in range(first, end):
        while True:
            try:
                producer.produce(
                    topic,
                    key=records.key(name, i),
                    value=records.value(name, i),
                    headers=records.headers(name, i),
                    timestamp=base + i,
                    on_delivery=delivered,
                )
                break
            except BufferError:
                producer.poll(0.1)
        if i % 1000 == 0:
            producer.poll(0)
    left = producer.flush(SECONDS)
    if left:
        raise Difference(f"{topic}: {left} records not delivered within {SECONDS} s")
    if failed:
        raise Difference(f"{topic}: {len(failed)} deliveries failed, the first: {failed[0]}")


def consumer_of(bootstrap):
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "assigned-by-hand",  # The binding wants one; nothing here joins or commits.
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            # A seek waits for the fetch in flight; the default half second would be most of this test.
            "fetch.wait.max.ms": 50,
            "fetch.queue.backoff.ms": 50,
        }
    )


def member(bootstrap, topic, group, goes_on):
    """Reads as a member of a group, commits its offsets, and leaves on request."""
    assigned = []
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "partition.assignment.strategy": "range"})
    consumer.subscribe([topic], on_assign=lambda _, partitions: assigned.extend(partitions))
    while goes_on():
        message = consumer.poll(0.2)
        if message is not None:
            if message.error():
                raise Difference(f"{topic}: {message.error()}")
            yield message.partition(), message.offset()
    if not assigned:
        raise Difference(f"{topic}: no assignment")
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as e:
        if e.args[0].code() != KafkaError._NO_OFFSET:
            raise
    consumer.close()


class Worker(Teller):
    def __init__(self, a):
        super().__init__(a["as"])
        self.topic = a["topic"]
        config = {
            "bootstrap.servers": a["bootstrap"],
            "group.id": a["group"],
            "group.protocol": a["protocol"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "max.poll.interval.ms": int(a["rebalance"]),
        }
        if a["protocol"] == "classic":
            classic = {"session.timeout.ms": int(a["session"]), "heartbeat.interval.ms": 1000}
            config |= classic | {"partition.assignment.strategy": "range"}
        self.consumer = Consumer(config)

    def commit_now(self):
        if not self.read:
            return
        offsets = [TopicPartition(self.topic, p, offset) for p, offset in self.read.items()]
        with self.committing(-1):
            deadline = time.monotonic() + SECONDS
            while not self.has_committed(offsets, deadline):
                pass

    def has_committed(self, offsets, deadline):
        try:
            for at in self.consumer.commit(offsets=offsets, asynchronous=False):
                if at.error:
                    raise KafkaException(at.error)
            return True
        except KafkaException as e:
            # A device that stalls for seconds delays the answer for longer than the client waits.
            if e.args[0].code() == KafkaError._TIMED_OUT and time.monotonic() < deadline:
                return False
            raise

    def revoked(self, _, partitions):
        self.commit_now()
        self.gives("REVOKED", -1, [at.partition for at in partitions])

    def work(self):
        self.tell("JOINS")
        self.consumer.subscribe(
            [self.topic],
            on_assign=lambda _, partitions: self.assigned(-1, [at.partition for at in partitions]),
            on_revoke=self.revoked,
            on_lost=lambda _, partitions: self.gives("LOST", -1, [at.partition for at in partitions]),
        )
        while not self.leaves:
            message = self.consumer.poll(0.2)
            if message is not None:
                if message.error():
                    raise Difference(f"{self.topic}: {message.error()}")
                self.took(message.partition(), message.offset())
            if message is None or self.commits_now():
                self.commit_now()
        self.consumer.close()
        self.tell("LEFT")


def worker(a):
    Worker(a).work()


def one(consumer, want):
    """The next record, once it is the one that was sought."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            raise Difference(f"{message.error()}")
        if (message.partition(), message.offset()) == want:
            return message
    raise Difference(f"{want} did not come within {SECONDS} s of the seek")


def read(bootstrap, topic, name, first, end, base, partitions):
    check = Check(topic, name, first, end, base, partitions)
    consumer = consumer_of(bootstrap)
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    deadline = time.monotonic() + SECONDS
    while not check.complete:
        if time.monotonic() > deadline:
            raise Difference(f"{topic}: {check.count} of {end - first} records within {SECONDS} s")
        for m in consumer.consume(2000, 0.5):
            if m.error():
                raise Difference(f"{topic}: {m.error()}")
            check.take(m.partition(), m.offset(), m.key(), m.value(), m.headers(), m.timestamp()[1])
    for p in range(partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)
        expect(f"{topic}-{p} watermarks", (low, high), (0, check.next_offset[p]))
        # `seek` in the middle and at the start.
        for offset in (check.next_offset[p] // 2, 0):
            if offset < check.next_offset[p]:
                consumer.seek(TopicPartition(topic, p, offset))
                expect(f"{topic}-{p}@{offset} after a seek", one(consumer, (p, offset)).offset(), offset)
    if name != "kcat":
        for t in (base + first, base + (first + end) // 2, base + end - 1, base + end):
            asked = [TopicPartition(topic, p, t) for p in range(partitions)]
            for got in consumer.offsets_for_times(asked, timeout=30):
                want = check.first_at_or_after(got.partition, t)
                expect(f"{topic}-{got.partition} offset for time {t}", got.offset, -1 if want is None else want)
    consumer.close()


def fails_with(what, code, future):
    try:
        future.result()
    except KafkaException as e:
        expect(f"error of {what}", e.args[0].code(), code)
        return
    raise Difference(f"{what} succeeded; error {code} was expected")


def admin(bootstrap, topic):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    create(bootstrap, topic, 3, {"retention.ms": "123456789", "segment.bytes": "2097152"})
    new = NewTopic(topic, num_partitions=1, replication_factor=1)
    fails_with("creating a topic twice", KafkaError.TOPIC_ALREADY_EXISTS, admin.create_topics([new])[topic])
    new = NewTopic("not a topic name", num_partitions=1, replication_factor=1)
    fails_with("a bad name", KafkaError.TOPIC_EXCEPTION, admin.create_topics([new])["not a topic name"])
    new = NewTopic(topic + "-validated", num_partitions=1, replication_factor=1)
    admin.create_topics([new], validate_only=True)[topic + "-validated"].result()

    def listed():
        found = admin.list_topics(timeout=30).topics
        return found if topic in found else None

    found = until(f"{topic} in list_topics", 30, listed)
    expect("partitions in list_topics", sorted(found[topic].partitions), [0, 1, 2])
    expect("validate_only created nothing", topic + "-validated" in found, False)
    cluster = admin.describe_cluster().result()
    expect("describe_cluster names nodes", len(cluster.nodes) > 0, True)
    expect("a cluster id", bool(cluster.cluster_id), True)
    expect("the controller is a node", cluster.controller.id in [n.id for n in cluster.nodes], True)
    for p in found[topic].partitions.values():
        expect("the leader is a node", p.leader in [n.id for n in cluster.nodes], True)
        expect("the leader is a replica in sync", (p.leader in p.replicas, p.leader in p.isrs), (True, True))
    described = admin.describe_topics(TopicCollection([topic]))[topic].result()
    expect("describe_topics", [p.id for p in described.partitions], [0, 1, 2])
    expect("a topic id", str(described.topic_id) != "AAAAAAAAAAAAAAAAAAAAAA", True)
    fails_with(
        "describing what is not there",
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        admin.describe_topics(TopicCollection([topic + "-not"]))[topic + "-not"],
    )
    resource = ConfigResource(ResourceType.TOPIC, topic)
    config = list(admin.describe_configs([resource]).values())[0].result()
    expect("retention.ms", config["retention.ms"].value, "123456789")
    expect("segment.bytes", config["segment.bytes"].value, "2097152")
    expect("retention.ms is not a default", config["retention.ms"].is_default, False)
    expect("cleanup.policy", (config["cleanup.policy"].value, config["cleanup.policy"].is_default), ("delete", True))

    admin.create_partitions([NewPartitions(topic, 5)], operation_timeout=30)[topic].result()
    until("5 partitions", 30, lambda: len(admin.list_topics(topic, timeout=30).topics[topic].partitions) == 5)
    fails_with(
        "fewer partitions", KafkaError.INVALID_PARTITIONS, admin.create_partitions([NewPartitions(topic, 2)])[topic]
    )

    write(bootstrap, topic, "librdkafka", "none", "all", 0, 1000, int(time.time() * 1000))
    spec = {
        TopicPartition(topic, p): s for p, s in ((0, OffsetSpec.earliest()), (1, OffsetSpec.latest()), (2, OffsetSpec.latest()))
    }
    got = {tp.partition: f.result().offset for tp, f in admin.list_offsets(spec).items()}
    expect("earliest of partition 0", got[0], 0)
    expect("latest of partition 1 is positive", got[1] > 0, True)
    spec = {TopicPartition(topic, p): OffsetSpec.latest() for p in range(5)}
    expect("the ends together", sum(f.result().offset for f in admin.list_offsets(spec).values()), 1000)
    spec = {TopicPartition(topic, 0): OffsetSpec.max_timestamp()}
    at = [f.result() for f in admin.list_offsets(spec).values()][0]
    expect("max_timestamp has an offset", at.offset >= 0 and at.timestamp > 0, True)

    admin.delete_topics([topic], operation_timeout=30)[topic].result()
    until("the topic is gone", 30, lambda: topic not in admin.list_topics(timeout=30).topics)
    fails_with("deleting it twice", KafkaError.UNKNOWN_TOPIC_OR_PART, admin.delete_topics([topic])[topic])


def transactions(bootstrap, topic, partitions, count):
    """Of version 1: librdkafka adds partitions before it writes to them."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{topic}-writer", "linger.ms": 1})
    producer.init_transactions(SECONDS)
    for tx in range(count):
        producer.begin_transaction()
        for i in range(tx % 5 * 3):
            producer.produce(topic, f"{tx}:{i}", f"k{i}", (tx + i) % partitions)
        if tx % 3 != 2:
            producer.commit_transaction(SECONDS)
        else:
            producer.flush(SECONDS)
            producer.abort_transaction(SECONDS)
    fences(bootstrap, topic, producer)


def copier(a):
    Copier(a).run()


def administer(bootstrap, topic):
    librdkafka_groups.administer(bootstrap, topic, create)


def resubscribe(bootstrap, topic):
    """A consumer (KIP-848) unsubscribes while it revokes partitions, and subscribes again after it has left."""
    create(bootstrap, topic, 4)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    fatal, revoked = [], []

    def consumer():
        return Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": topic,
            "group.protocol": "consumer",
            "error_cb": lambda error: fatal.append(error) if error.code() == KafkaError._FATAL else None,
        })

    def unsubscribes(of, partitions):
        if not revoked:
            of.unsubscribe()
        revoked.extend(partitions)

    first, second = consumer(), consumer()

    def polls(has_come):
        first.poll(0.05)
        second.poll(0)
        if fatal:
            raise Difference(f"{topic}: {fatal[0]}")
        return has_come()

    def left():
        members = admin.describe_consumer_groups([topic])[topic].result().members
        return len(members) == 1 and len(second.assignment()) == 4

    first.subscribe([topic], on_revoke=unsubscribes)
    until("it has all partitions", SECONDS, lambda: polls(lambda: len(first.assignment()) == 4))
    second.subscribe([topic])
    until("it must give some back", SECONDS, lambda: polls(lambda: revoked))
    until("it has left, and the other one has all", SECONDS, lambda: polls(left))
    first.subscribe([topic])
    until("it has joined again", SECONDS, lambda: polls(lambda: len(first.assignment()) == 2))
    first.close()
    second.close()


def fences(bootstrap, topic, old):
    """A second producer of the id; the first one's open transaction is aborted."""
    old.begin_transaction()
    old.produce(topic, "never", "k", 0)
    old.flush(SECONDS)
    fresh = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{topic}-writer"})
    fresh.init_transactions(SECONDS)
    try:
        old.commit_transaction(SECONDS)
    except KafkaException as e:
        expect("the fenced producer is told so", e.args[0].code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH), True)
    else:
        raise Difference("a fenced producer committed")


if __name__ == "__main__":
    records.main(sys.modules[__name__])
