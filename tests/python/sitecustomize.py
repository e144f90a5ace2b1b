"""Prepares every Python process of the tests: the tests can advance its clock, and Nagle's
algorithm is off.

`STEPLADDER_TIME_OFFSET` is the path of a file that contains an unsigned number of nanoseconds
(eight bytes, little-endian). `time.time()` is ahead by that time. The file is mapped into memory,
so a new number takes effect at the next call, and reading it costs nothing.

Only `time.time()` is ahead: queues, retention and tokens use it. The other clocks are unchanged:
timers use `time.monotonic()`, signatures are compared with `datetime`, and the deadline of a Lambda
function must be a time of the clock that the function reads.
"""

import mmap
import os
import socketserver
import sys
import time

# the Runtime API of a local Lambda function writes each response in two parts; Nagle's algorithm
# would delay the second one by 40 ms
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
