"""Prepares every Python process of the tests: a clock that tests can advance, and no Nagle's algorithm.

`STEPLADDER_TIME_OFFSET` names a file of eight bytes, an unsigned number of nanoseconds, little-endian: `time.time()` is
that far ahead. The file is mapped, so a new number counts from the next call on, and reading it costs nothing.

Only `time.time()` is moved: queues, retention and tokens count by it. Timers count by `time.monotonic()`, signatures
are compared with `datetime`, and a Lambda is told its deadline in the time that it reads itself: those stay.
"""

import mmap
import os
import socketserver
import sys
import time

# the Runtime API of a local Lambda answers in two writes; Nagle's algorithm makes the second wait
# 40 ms
socketserver.StreamRequestHandler.disable_nagle_algorithm = True

_NOT_MOVED = {"ministack.core.lambda_runtime"}


def _move_time(path):
    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    real = time.time

    def moved():
        if sys._getframe(1).f_globals.get("__name__") in _NOT_MOVED:
            return real()
        return real() + int.from_bytes(offset[:8], "little") / 1e9

    time.time = moved


if "STEPLADDER_TIME_OFFSET" in os.environ:
    _move_time(os.environ["STEPLADDER_TIME_OFFSET"])
