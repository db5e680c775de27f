"""The records that every client writes and checks, as Python makes them.

The rule is written down once, in tests/support/records.rs; this file obeys it. A `Check` takes records in the
order in which a client hands them out and stops at the first one that differs from the rule.
"""

import sys
import time

NULL = None


def _pattern():
    out, x = bytearray(65536), 1
    for j in range(65536):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        out[j] = 97 + ((x >> 16) & 15)
    return bytes(out)


PATTERN = _pattern()


def key(name, i):
    return b"%s-%d" % (name.encode(), i)


def value(name, i):
    if i % 50 == 0:
        return NULL
    if i % 50 == 1:
        return NULL if name == "kcat" else b""
    mixed = ((i * 2654435761) & 0xFFFFFFFF) >> 8
    start = mixed % 32768
    length = 10000 if i % 1000 == 999 else mixed % 197 + 1
    return PATTERN[start : start + length]


def headers(name, i):
    if name == "kcat":
        return [("client", b"kcat")]
    null = b"" if name in ("kafka-python", "kafkajs") else NULL  # They refuse to send a null header value.
    kind = i % 5
    if kind == 0:
        return []
    if kind == 1:
        return [("h", b"%d" % i)]
    if kind == 2:
        return [("a", b"1"), ("a", b"2"), ("b", b"")]
    if kind == 3:
        return [("n", null)]
    return [("client", name.encode()), ("n", null), ("i", b"%d" % i)]


class Difference(Exception):
    pass


class Check:
    """Every record of [first, end) exactly once, in order within each partition, offsets without a gap."""

    def __init__(self, topic, name, first, end, base, partitions):
        self.topic, self.name, self.first, self.end, self.base = topic, name, first, end, base
        self.seen = bytearray(end - first)
        self.count = 0
        self.next_offset = [0] * partitions
        self.last = [-1] * partitions
        self.times = [[] for _ in range(partitions)]

    def take(self, partition, offset, got_key, got_value, got_headers, timestamp):
        where = f"{self.topic}-{partition}@{offset}"
        if offset != self.next_offset[partition]:
            raise Difference(f"{where}: offset {self.next_offset[partition]} was expected next")
        self.next_offset[partition] = offset + 1
        prefix = self.name.encode() + b"-"
        if got_key is None or not got_key.startswith(prefix):
            raise Difference(f"{where}: key {got_key!r} does not begin with {prefix!r}")
        i = int(got_key[len(prefix) :])
        if not self.first <= i < self.end:
            raise Difference(f"{where}: record {i} is not in [{self.first}, {self.end})")
        if i <= self.last[partition]:
            raise Difference(f"{where}: record {i} after record {self.last[partition]}: the order is broken")
        self.last[partition] = i
        if self.seen[i - self.first]:
            raise Difference(f"{where}: record {i} twice")
        self.seen[i - self.first] = 1
        want = value(self.name, i)
        if got_value != want:
            raise Difference(f"{where}: record {i}: value {short(got_value)}, expected {short(want)}")
        want = headers(self.name, i)
        if list(got_headers or []) != want:
            raise Difference(f"{where}: record {i}: headers {got_headers!r}, expected {want!r}")
        if self.name != "kcat" and timestamp != self.base + i:
            raise Difference(f"{where}: record {i}: timestamp {timestamp}, expected {self.base + i}")
        self.times[partition].append(timestamp)
        self.count += 1

    @property
    def complete(self):
        return self.count == self.end - self.first

    def first_at_or_after(self, partition, timestamp):
        """What offsets-for-times must answer for `partition`, or None."""
        for offset, t in enumerate(self.times[partition]):
            if t >= timestamp:
                return offset
        return None


def short(v):
    return repr(v) if v is None or len(v) < 60 else f"{v[:40]!r}... ({len(v)} bytes)"


def arguments():
    """argv as `mode key=value ...`."""
    return sys.argv[1], dict(a.split("=", 1) for a in sys.argv[2:])


def say(*what):
    print(*what, flush=True)


def until(what, seconds, condition):
    """Waits for a condition with a deadline; its answer is what the condition answered."""
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise Difference(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def expect(what, got, want):
    if got != want:
        raise Difference(f"{what}: got {got!r}, expected {want!r}")


def main(program):
    mode, a = arguments()
    try:
        if mode == "bulk":
            bulk(program, a)
        elif mode == "write":
            program.write(a["bootstrap"], a["topic"], a["as"], a["codec"], a["acks"], int(a["from"]), int(a["to"]), int(a["base"]))
            say(f"WROTE {a['topic']} {a['codec']} {int(a['to']) - int(a['from'])}")
        elif mode == "read":
            for pair in a["topics"].split(","):
                topic, name = pair.split("=")
                started = time.monotonic()
                program.read(a["bootstrap"], topic, name, int(a["from"]), int(a["to"]), int(a["base"]), int(a["partitions"]))
                say(f"READ {topic} {int(a['to']) - int(a['from'])} {time.monotonic() - started:.2f}")
        elif mode == "create":
            config = dict(c.split(":") for c in a["config"].split(",") if c)
            for topic in a["topics"].split(","):
                program.create(a["bootstrap"], topic, int(a["partitions"]), config)
                say(f"CREATED {topic}")
        elif mode == "transactions":
            program.transactions(a["bootstrap"], a["topic"], int(a["partitions"]), int(a["count"]))
            say("OK transactions")
        elif mode == "copier":
            program.copier(a)
        elif mode == "worker":
            program.worker(a)
        elif mode == "member":
            got = {}
            last = time.monotonic() + 30  # The first assignment takes its time.
            for partition, offset in program.member(a["bootstrap"], a["topic"], a["group"], lambda: time.monotonic() < last):
                got.setdefault(partition, []).append(offset)
                last = time.monotonic() + float(a["silence"])
            for partition, offsets in sorted(got.items()):
                say(f"MEMBER {partition} {offsets[0]} {offsets[-1]} {len(offsets)}")
        elif mode in ("admin", "administer", "resubscribe"):
            getattr(program, mode)(a["bootstrap"], a["topic"])
            say(f"OK {mode}")
        else:
            raise Difference(f"unknown mode {mode}")
    except Difference as e:
        say("DIFF", e)
        sys.exit(1)


def bulk(program, a):
    for case in a["cases"].split(","):
        codec, acks = case.split(":")
        topic = f"{a['as']}-{codec}-{acks}"
        count, base, partitions = int(a["count"]), int(a["base"]), int(a["partitions"])
        started = time.monotonic()
        program.create(a["bootstrap"], topic, partitions)
        program.write(a["bootstrap"], topic, a["as"], codec, acks, 0, count, base)
        wrote = time.monotonic()
        program.read(a["bootstrap"], topic, a["as"], 0, count, base, partitions)
        ended = time.monotonic()
        say(f"OK {a['as']} {codec} {acks} {count} {wrote - started:.2f} {ended - wrote:.2f}")
