#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""socat: select, half-close, a child per connection, programs that it runs, relays, datagrams.

Its PIPE address is not used: with both ends in one process it hangs on the kernel now and then, too."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402


def start(d, on_stack, args):
    args = [stk.need("socat"), "-t10", *args]
    return d.stackrun(args) if on_stack else d.start(args)


def there_and_back(d, addr, port, on_stack, size=30 << 20):
    """A file to an echoing server and back; ten small ones."""
    src, dst = d.dir + "/src", d.dir + "/dst"
    want = stk.make_file(src, size)
    pre = f"{stk.PLAIN}/stackrun --run-dir {d.run_dir} " if on_stack else ""
    line = f"{pre}socat -t10 - TCP4:{addr}:{port} <{src} >{dst}"
    with stk.through_stackd(d, 2 * size):
        d.run(["sh", "-c", line])
        stk.check(stk.hash_of(["cat", dst]) == want, f"{os.path.getsize(dst)} of {size} bytes, or others")
        for i in range(10):
            got = d.run(["sh", "-c", f"echo {i} | {pre}socat -t10 - TCP4:{addr}:{port}"])
            stk.check(got == b"%d\n" % i, f"small: {got!r}")


KINDS = {"cat": "EXEC:cat", "system": "SYSTEM:cat"}


@stk.test(*[{"kind": k} for k in KINDS])
def server(kind):
    """Echo by a program that socat on stackd runs; a child per connection."""
    with stk.stackd(workers=2) as d:
        p = start(d, True, [f"TCP4-LISTEN:7,bind={stk.STACK},fork,reuseaddr", KINDS[kind]])
        stk.wait_port(stk.STACK, 7)
        there_and_back(d, stk.STACK, 7, False)
        d.stop(p)
        d.wait_clean()


@stk.test()
def client():
    """socat on stackd asks one in the kernel."""
    with stk.stackd() as d:
        start(d, False, [f"TCP4-LISTEN:7,bind={stk.KERNEL},fork,reuseaddr", "EXEC:cat"])
        stk.wait_port(stk.KERNEL, 7)
        there_and_back(d, stk.KERNEL, 7, True)
        d.wait_clean()


@stk.test()
def relay():
    """A relay on stackd, server on one side and client on the other."""
    with stk.stackd(workers=2) as d:
        start(d, False, [f"TCP4-LISTEN:7,bind={stk.KERNEL},fork,reuseaddr", "EXEC:cat"])
        p = start(d, True, [f"TCP4-LISTEN:8,bind={stk.STACK},fork,reuseaddr", f"TCP4:{stk.KERNEL}:7"])
        stk.wait_port(stk.STACK, 8)
        there_and_back(d, stk.STACK, 8, False)
        d.stop(p)
        d.wait_clean()


@stk.test(*[{"on_stack": b} for b in (True, False)])
def udp(on_stack):
    """UDP4-RECVFROM with a child per datagram, and UDP4 as client."""
    addr = stk.STACK if on_stack else stk.KERNEL
    pre = "" if on_stack else f"{stk.PLAIN}/stackrun --run-dir "
    with stk.stackd() as d:
        p = start(d, on_stack, [f"UDP4-RECVFROM:7,bind={addr},fork", "EXEC:cat"])
        stk.wait_for("the server is bound", lambda: d.show("sockets")["sockets"] if on_stack else
                     b":7 " in stk.subprocess.run(["ss", "-lun"], capture_output=True).stdout)
        pre = f"{pre}{d.run_dir} " if pre else ""
        for i in range(3):
            got = d.run(["sh", "-c", f"echo {i} | {pre}socat -t0.3 - UDP4:{addr}:7"])
            stk.check(got == b"%d\n" % i, f"datagram {i}: {got!r}")
        d.stop(p)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
