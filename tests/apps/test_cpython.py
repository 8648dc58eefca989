#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""CPython's tests of socket, select, poll, epoll and the servers above them, on stackd."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import cpython                                                                # noqa: E402
import stk                                                                    # noqa: E402


@stk.test({"workers": 1})
def sockets(workers):
    """700 tests of the module itself, timeouts and datagrams included."""
    cpython.compare(["test_socket"], workers)


@stk.test({"workers": 2})
def readiness(workers):
    cpython.compare(["test_select", "test_poll", "test_epoll", "test_selectors", "test_asyncore", "test_asynchat",
                     "test_socketserver"], workers)


if __name__ == "__main__":
    stk.main()
