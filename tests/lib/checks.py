# SPDX-License-Identifier: MIT
"""tests/lib/checks.py - how a test fails, is skipped and waits, on this machine and in a virtual one"""
import time


class Skip(Exception):
    pass


class Failed(Exception):
    pass


def check(cond, text):
    if not cond:
        raise Failed(text)


def wait_until(what, fn, limit, pause):
    """Poll fn until it is true; its last false value is told on failure. Seconds."""
    end = time.monotonic() + limit
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {limit} s (last: {got!r})")
        time.sleep(pause)
