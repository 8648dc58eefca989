#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stackctl show with many sockets: all of them, and the engine's memory does not grow with them."""
import os
import re
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "apps")]
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
CONNS = 3000
SERVER = f"""
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (9000, 9000))
s = socket.create_server((sys.argv[1], 7000), backlog=1000)
held = [s.accept()[0] for _ in range({CONNS})]
print("all", flush=True)
sys.stdin.read()
"""


def anon(pid):
    """Private memory of a process, KiB."""
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1))


def arenas(pid):
    """glibc's arenas of single threads: 64 MiB, aligned, reserved but for what is used. Where one shrinks,
    it opens a file of /proc: the end of an engine under seccomp."""
    with open(f"/proc/{pid}/maps") as f:
        maps = [(int(m[1], 16), int(m[2], 16), m[3]) for m in
                re.finditer(r"^(\w+)-(\w+) (....) 00000000 00:00 0 *$", f.read(), re.M)]
    return [a for a, b in zip(maps, maps[1:]) if a[1] == b[0] and a[2] == "rw-p" and b[2] == "---p" and
            a[0] % (64 << 20) == 0 and b[1] % (64 << 20) == 0]


def engine(d):
    with open(f"/proc/{d.proc.pid}/task/{d.proc.pid}/children") as f:
        return int(f.read().split()[0])


@stk.test(*stk.workers(1, 2))
def many(workers):
    """3,000 connections: each is shown once; who asks and hangs up at once costs nothing."""
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (9000, 9000))
    with stk.stackd(workers=workers) as d:
        p = d.stackrun([PY, "-c", SERVER, stk.STACK], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stk.wait_for("a listener", lambda: d.show("sockets")["sockets"])
        held = [socket.create_connection((stk.STACK, 7000), stk.HANG) for _ in range(CONNS)]
        stk.check(p.stdout.readline() == b"all\n", "the server did not accept them")
        before = anon(engine(d))
        for _ in range(3):
            shown = [x for x in d.show("sockets")["sockets"] if x["state"] == "ESTABLISHED"]
            ports = sorted(x["rport"] for x in shown)
            stk.check(ports == sorted(s.getsockname()[1] for s in held), f"{len(ports)} shown")
            ask = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ask.connect(os.path.join(d.run_dir, "stackd.sock"))
            ask.send((7).to_bytes(4, "little") + (23).to_bytes(4, "little") + bytes(4) +
                     (7).to_bytes(4, "little") + b"sockets")
            ask.close()
        grown = anon(engine(d)) - before
        stk.check(grown < 6000, f"{grown} KiB more for {CONNS} sockets")
        stk.check("address" in stk.BUILD or not arenas(engine(d)), "a worker has an arena of its own")
        for s in held:
            s.close()
        p.stdin.close()
        p.wait(stk.HANG)
        d.procs.remove(p)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
