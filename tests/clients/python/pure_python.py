"""kafka-python: a client that shares no code with the others, and its own codecs' bindings."""

import sys
import time

import kafka.errors as errors
import records
from kafka import AsyncConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import OffsetAndMetadata, TopicPartitionReplica
from records import Check, Difference, expect, say, until
from steps import Teller

SECONDS = 120


def create(bootstrap, topic, partitions, config=None):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    new = {topic: {"num_partitions": partitions, "replication_factor": 1, "configs": config or {}}}
    admin.create_topics(new, wait_for_metadata=True)
    until(f"{topic} answers", 60, lambda: answers(admin, topic, partitions))
    admin.close()


def answers(admin, topic, partitions):
    """Whether every leader serves its partition. A record sent before that may come late (acks=1) or never (acks=0)."""
    try:
        ends = admin.list_partition_offsets({TopicPartition(topic, p): OffsetSpec.LATEST for p in range(partitions)})
        return len(ends) == partitions
    except (errors.UnknownTopicOrPartitionError, errors.LeaderNotAvailableError, errors.NotLeaderForPartitionError):
        return False


def member(bootstrap, topic, group, goes_on):
    """Reads as a member of a group, commits its offsets, and leaves on request."""
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
                             enable_auto_commit=False)
    was_assigned = False
    while goes_on():
        for partition, got in consumer.poll(timeout_ms=200).items():
            for record in got:
                yield partition.partition, record.offset
        was_assigned = was_assigned or bool(consumer.assignment())
    if not was_assigned:
        raise Difference(f"{topic}: no assignment")
    consumer.commit()
    consumer.close(autocommit=False)


class Listener(AsyncConsumerRebalanceListener):
    def __init__(self, worker):
        self.worker = worker
        self.has = set()

    async def on_partitions_assigned(self, assigned):
        self.has = {at.partition for at in assigned}
        self.worker.assigned(self.worker.generation(), self.has)

    async def on_partitions_revoked(self, revoked):
        await self.worker.commit_before_it_is_too_late()
        # When a rebalance restarts before it has completed, kafka-python revokes the same partitions again.
        gives = self.has.intersection(at.partition for at in revoked)
        self.has -= gives
        self.worker.gives("REVOKED", self.worker.generation(), gives)

    async def on_partitions_lost(self, lost):
        self.has.clear()
        self.worker.gives("LOST", self.worker.generation(), [at.partition for at in lost])


class Worker(Teller):
    def __init__(self, a):
        super().__init__(a["as"])
        self.topic = a["topic"]
        self.consumer = KafkaConsumer(
            bootstrap_servers=a["bootstrap"],
            group_id=a["group"],
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            partition_assignment_strategy=[RangePartitionAssignor],
            session_timeout_ms=int(a["session"]),
            heartbeat_interval_ms=1000,
            max_poll_interval_ms=int(a["rebalance"]),
            max_poll_records=100,
        )

    def generation(self):
        return self.consumer.group_metadata().generation_id

    def offsets(self):
        return {TopicPartition(self.topic, p): OffsetAndMetadata(offset, "", -1) for p, offset in self.read.items()}

    def commit_now(self):
        if self.read:
            with self.committing(self.generation()):
                self.consumer.commit(self.offsets())

    async def commit_before_it_is_too_late(self):
        """In a callback, which runs where answers are read and so must not block."""
        if self.read:
            with self.committing(self.generation()):
                await self.consumer.commit_async(self.offsets())

    def work(self):
        self.tell("JOINS")
        self.consumer.subscribe([self.topic], listener=Listener(self))
        while not self.leaves:
            for partition, got in self.consumer.poll(timeout_ms=200).items():
                for record in got:
                    self.took(partition.partition, record.offset)
            if self.commits_now():
                self.commit_now()
        self.consumer.close(autocommit=False)
        self.tell("LEFT")


def worker(a):
    Worker(a).work()


def write(bootstrap, topic, name, codec, acks, first, end, base):
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        acks=-1 if acks == "all" else int(acks),
        enable_idempotence=acks == "all",
        compression_type=None if codec == "none" else codec,
        linger_ms=5,
        batch_size=65536,
    )
    failed = []
    for i in range(first, end):
        producer.send(
            topic,
            key=records.key(name, i),
            value=records.value(name, i),
            headers=records.headers(name, i),
            timestamp_ms=base + i,
        ).add_errback(failed.append)
    producer.flush(SECONDS)
    producer.close()
    if failed:
        raise Difference(f"{topic}: {len(failed)} sends failed, the first: {failed[0]!r}")


def read(bootstrap, topic, name, first, end, base, partitions):
    check = Check(topic, name, first, end, base, partitions)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="none")
    assigned = [TopicPartition(topic, p) for p in range(partitions)]
    consumer.assign(assigned)
    expect(f"{topic} beginning offsets", consumer.beginning_offsets(assigned), {tp: 0 for tp in assigned})
    for tp in assigned:
        consumer.seek(tp, 0)
    deadline = time.monotonic() + SECONDS
    while not check.complete:
        if time.monotonic() > deadline:
            raise Difference(f"{topic}: {check.count} of {end - first} records within {SECONDS} s")
        for tp, got in consumer.poll(timeout_ms=500, max_records=5000).items():
            for r in got:
                check.take(tp.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
    for tp in assigned:
        expect(f"position of {tp}", consumer.position(tp), check.next_offset[tp.partition])
    ends = consumer.end_offsets(assigned)
    expect(f"{topic} end offsets", [ends[tp] for tp in assigned], check.next_offset)
    if name != "kcat":
        for t in (base + first, base + (first + end) // 2, base + end - 1, base + end):
            for tp, got in consumer.offsets_for_times({tp: t for tp in assigned}).items():
                want = check.first_at_or_after(tp.partition, t)
                expect(f"{tp} offset for time {t}", got.offset if got else None, want)
    middle = check.next_offset[0] // 2
    if check.next_offset[0]:
        consumer.assign(assigned[:1])
        consumer.seek(assigned[0], middle)
        got = until("a record after a seek", 30, lambda: consumer.poll(timeout_ms=500, max_records=1))
        expect("the record sought", got[assigned[0]][0].offset, middle)
    consumer.close()


def fails_with(what, error, call):
    try:
        call()
    except error:
        return
    raise Difference(f"{what} succeeded; {error.__name__} was expected")


def admin(bootstrap, topic):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    create(bootstrap, topic, 3, {"retention.ms": "123456789"})
    one = {"num_partitions": 1, "replication_factor": 1}
    fails_with("creating a topic twice", errors.TopicAlreadyExistsError, lambda: admin.create_topics({topic: one}))
    fails_with("a bad name", errors.InvalidTopicError, lambda: admin.create_topics({"not a name": one}))
    admin.create_topics({topic + "-validated": one}, validate_only=True)
    names = admin.list_topics()
    expect("the topic is listed", topic in names, True)
    expect("validate_only created nothing", topic + "-validated" in names, False)
    described = admin.describe_topics([topic])[0]
    expect("partitions", sorted(p["partition_index"] for p in described["partitions"]), [0, 1, 2])
    expect("no errors", [p["error_code"] for p in described["partitions"]], [0, 0, 0])
    cluster = admin.describe_cluster()
    brokers = [b["broker_id"] for b in cluster["brokers"]]
    expect("the controller is a broker", cluster["controller_id"] in brokers, True)
    expect("the leaders are brokers", all(p["leader_id"] in brokers for p in described["partitions"]), True)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    config = admin.describe_configs([resource], config_filter="all")["topic"][topic]
    expect("retention.ms", config["retention.ms"]["value"], "123456789")
    expect("cleanup.policy", config["cleanup.policy"]["value"], "delete")

    admin.create_partitions({topic: 5})
    until("5 partitions", 30, lambda: len(admin.describe_topics([topic])[0]["partitions"]) == 5)
    fails_with("fewer partitions", errors.InvalidPartitionsError, lambda: admin.create_partitions({topic: 2}))
    write(bootstrap, topic, "kafka-python", "none", "all", 0, 1000, int(time.time() * 1000))
    partitions = [TopicPartition(topic, p) for p in range(5)]
    ends = admin.list_partition_offsets({tp: OffsetSpec.LATEST for tp in partitions})
    expect("the ends together", sum(o.offset for o in ends.values()), 1000)
    starts = admin.list_partition_offsets({tp: OffsetSpec.EARLIEST for tp in partitions})
    expect("the starts together", sum(o.offset for o in starts.values()), 0)

    admin.delete_topics([topic])
    until("the topic is gone", 30, lambda: topic not in admin.list_topics())
    fails_with("deleting it twice", errors.UnknownTopicOrPartitionError, lambda: admin.delete_topics([topic]))
    admin.close()


def administer(bootstrap, topic):
    """What kafka-python's own admin tests check, without a security setup."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    create(bootstrap, topic, 4)
    brokers = sorted(b["broker_id"] for b in admin.describe_cluster()["brokers"])
    page = admin.describe_topic_partitions([topic], response_partition_limit=1)
    first = page["topics"][0]["partitions"]
    expect("the first page", [p["partition_index"] for p in first], [0])
    page = admin.describe_topic_partitions([topic], response_partition_limit=10, cursor=page["next_cursor"])
    expect("the other pages", [p["partition_index"] for p in page["topics"][0]["partitions"]], [1, 2, 3])
    expect("brokers have settings", "broker" in admin.list_config_resources(), True)
    dirs = {of["broker"]: of["log_dirs"] for of in admin.describe_log_dirs()}
    expect("each broker has a directory", sorted(broker for broker, has in dirs.items() if has), brokers)
    expect("the directories have no errors", {d["error_code"] for has in dirs.values() for d in has}, {0})
    leader = first[0]["leader_id"]
    replica = TopicPartitionReplica(topic, 0, leader)
    for directory, moved in ((dirs[leader][0]["log_dir"], errors.NoError), ("/nowhere", errors.LogDirNotFoundError)):
        expect(f"a move to {directory}", admin.alter_replica_log_dirs({replica: directory}), {replica: moved})

    write(bootstrap, topic, "kafka-python", "none", "all", 0, 400, int(time.time() * 1000))
    partitions = [TopicPartition(topic, p) for p in range(4)]
    ends = {tp: of.offset for tp, of in admin.list_partition_offsets({tp: OffsetSpec.LATEST for tp in partitions}).items()}
    deleted = admin.delete_records({partitions[0]: -1, partitions[1]: 5}, timeout_ms=30_000)
    expect("the low watermarks", [deleted[tp]["low_watermark"] for tp in partitions[:2]], [ends[partitions[0]], 5])
    starts = admin.list_partition_offsets({tp: OffsetSpec.EARLIEST for tp in partitions})
    expect("the log starts", [starts[tp].offset for tp in partitions], [ends[partitions[0]], 5, 0, 0])
    elected = admin.elect_leaders(0, {topic: [0, 1, 2, 3]}).replica_election_results
    expect("no election is needed", [p[1] for p in elected[0][1]], [errors.ElectionNotNeededError.errno] * 4)
    expect("nothing moves", admin.list_partition_reassignments(), {})
    groups(bootstrap, admin, topic)
    admin.close()


def groups(bootstrap, admin, topic):
    gone, alive, never = (f"{topic}-{what}" for what in ("gone", "alive", "never"))

    def consumer(group):
        new = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
        until(f"a record for {group}", SECONDS, lambda: new.poll(timeout_ms=500, max_records=1))
        return new

    consumer(gone).close()
    lives = consumer(alive)
    listed = {group["group_id"] for group in admin.list_groups()}
    expect("the listed groups", listed & {gone, alive, never}, {gone, alive})
    member = admin.describe_groups([alive])[alive]["members"][0]
    expect("its subscription", member["member_metadata"]["topics"], [topic])
    expect("its assignment", [of["topic"] for of in member["member_assignment"]["assigned_partitions"]], [topic])
    expect("deleting the three", admin.delete_groups([gone, alive, never]),
           {gone: "OK", alive: "NonEmptyGroupError", never: "GroupIdNotFoundError"})
    listed = {group["group_id"] for group in admin.list_groups()}
    expect("the groups that are left", listed & {gone, alive, never}, {alive})
    lives.close()


if __name__ == "__main__":
    records.main(sys.modules[__name__])
