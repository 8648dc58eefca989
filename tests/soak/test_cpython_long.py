#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""All of CPython's tests that use sockets, processes, signals or files, on stackd."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import cpython                                                                # noqa: E402
import stk                                                                    # noqa: E402

CLIENTS = ["test_httplib", "test_httpservers", "test_urllib2_localnet", "test_ftplib", "test_smtplib", "test_poplib",
           "test_imaplib", "test_telnetlib", "test_nntplib", "test_xmlrpc", "test_docxmlrpc", "test_wsgiref",
           "test_ssl", "test_timeout"]
SYSTEM = ["test_eintr", "test_fcntl", "test_posix", "test_signal", "test_os", "test_io", "test_threading",
          "test_subprocess", "test_multiprocessing_fork", "test_multiprocessing_spawn", "test_multiprocessing_forkserver",
          "test_concurrent_futures"]


@stk.test(*stk.workers(1, 2))
def asyncio(workers):
    cpython.compare(["test_asyncio"], workers, 900)


@stk.test(*stk.workers(1, 2))
def clients_and_servers(workers):
    cpython.compare(CLIENTS, workers, 900)


@stk.test({"workers": 2})
def system(workers):
    """Processes, signals, files: the shim must not be seen."""
    cpython.compare(SYSTEM, workers, 900)


if __name__ == "__main__":
    stk.main()
