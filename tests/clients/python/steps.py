"""A member of a group that prints every step (tests/crash/many_members/step.rs), and leaves on request."""

import random
import sys
import threading
import time
from contextlib import contextmanager

from records import say


class Teller:
    """The common part of all members: print steps, track uncommitted offsets, and wait for the request to leave."""

    def __init__(self, name):
        self.name = name
        self.leaves = False
        self.read = {}
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in sys.stdin:
            if line.strip() == "leave":
                self.leaves = True

    def tell(self, verb, *what):
        say(time.time_ns() // 1000, self.name, verb, *what)

    def assigned(self, generation, partitions):
        self.tell("ASSIGNED", generation, numbers(partitions))

    def took(self, partition, offset):
        self.tell("READ", partition, offset, offset)
        self.read[partition] = offset + 1

    @contextmanager
    def committing(self, generation):
        """Wraps a commit of all read offsets, and prints its outcome."""
        told = ",".join(f"{p}:{offset}" for p, offset in self.read.items())
        try:
            yield
        except Exception as e:
            self.tell("FAILED", generation, told, repr(e))
        else:
            self.tell("COMMITTED", generation, told)
            self.read.clear()

    def gives(self, verb, generation, partitions):
        for p in partitions:
            self.read.pop(p, None)
        self.tell(verb, generation, numbers(partitions))

    def commits_now(self):
        return random.random() < 0.2


def numbers(partitions):
    return ",".join(map(str, sorted(partitions)))
