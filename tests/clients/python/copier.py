"""Copies a topic in transactions (of version 1), as a member of a group, by librdkafka.

It prints the outcome of each transaction: COMMITTED, ABORTED (on purpose), HALTED (at the requested point) and REFUSED,
each with id, incarnation and number.
"""

import queue
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from records import say

SECONDS = 30
RECORDS = 40


class Copier:
    def __init__(self, a):
        self.a = a
        self.incarnation = int(a["incarnation"])
        self.is_over = False
        self.halt_at = None
        self.go_on = queue.Queue()

    def run(self):
        threading.Thread(target=self.listen, daemon=True).start()
        while not self.is_over:
            try:
                self.copy()
            except KafkaException as e:
                # After a fatal error the program starts over, and its transactional id ends the open transaction.
                say("GAVE UP", e.args[0])
                time.sleep(0.1)
            self.incarnation += 1

    def listen(self):
        for line in sys.stdin:
            line = line.strip()
            if line == "end":
                self.is_over = True
            elif line == "go on":
                self.go_on.put(line)
            elif line.startswith("halt "):
                self.halt_at = line[5:]

    def halt(self, place, tag):
        if self.halt_at != place:
            return False
        self.halt_at = None
        say("HALTED", tag)
        self.go_on.get()
        return True

    def copy(self):
        a = self.a
        producer = Producer(
            {
                "bootstrap.servers": a["bootstrap"],
                "transactional.id": a["id"],
                "transaction.timeout.ms": int(a["transaction"]),
                "message.timeout.ms": int(a["transaction"]),
                "linger.ms": 1,
                # With "rebootstrap" an offset commit may wait for ever after all brokers were away (librdkafka issue 5511).
                "metadata.recovery.strategy": "none",
            }
        )
        producer.init_transactions(SECONDS)
        consumer = Consumer(
            {
                "bootstrap.servers": a["bootstrap"],
                "group.id": a["group"],
                "session.timeout.ms": int(a["session"]),
                "heartbeat.interval.ms": 500,
                "max.poll.interval.ms": int(a["rebalance"]),
                "partition.assignment.strategy": "range",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
            }
        )
        gathered = []
        # A rebalance happens within a poll. Records collected before it may belong to another member now.
        consumer.subscribe([a["input"]], on_revoke=lambda *_: gathered.clear(), on_lost=lambda *_: gathered.clear())
        try:
            number = 0
            while not self.is_over:
                gathered.clear()
                until = time.monotonic() + 0.1
                while len(gathered) < RECORDS and time.monotonic() < until:
                    message = consumer.poll(0.05)
                    if message is None:
                        continue
                    if message.error():
                        raise KafkaException(message.error())
                    gathered.append(message)
                if gathered:
                    self.transaction(producer, consumer, gathered, number)
                    number += 1
        finally:
            consumer.close()

    def transaction(self, producer, consumer, messages, number):
        a = self.a
        tag = f"{a['id']} {self.incarnation} {number}"
        aborts = number % 7 == 6
        was_halted = False
        member = consumer.consumer_group_metadata()
        try:
            producer.begin_transaction()
            offsets = {}
            for index, m in enumerate(messages):
                copied = [a["id"], self.incarnation, number, index, len(messages), int(aborts), m.partition(), m.offset()]
                value = "|".join(map(str, copied)).encode() + b"|" + m.value()
                producer.produce(a["output"], value, m.key(), int(m.key()[1:]) % int(a["partitions"]))
                offsets[m.partition()] = TopicPartition(m.topic(), m.partition(), m.offset() + 1)
            producer.flush(SECONDS)
            if aborts:
                producer.abort_transaction(SECONDS)
                say("ABORTED", tag)
                self.rewind(consumer)
                return
            was_halted = self.halt("offsets", tag)
            producer.send_offsets_to_transaction(list(offsets.values()), member, SECONDS)
            was_halted |= self.halt("commit", tag)
            producer.commit_transaction(SECONDS)
            say("COMMITTED", tag, len(messages))
        except KafkaException as e:
            say("REFUSED" if was_halted else "FAILED", tag, e.args[0])
            if self.is_over:
                return
            if not e.args[0].txn_requires_abort():
                raise
            producer.abort_transaction(SECONDS)
            self.rewind(consumer)

    @staticmethod
    def rewind(consumer):
        """Seeks to the committed offsets: records polled since then were not copied."""
        for at in consumer.committed(consumer.assignment(), SECONDS):
            consumer.seek(TopicPartition(at.topic, at.partition, max(at.offset, 0)))
