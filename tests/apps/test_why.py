#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stackrun --why: who carries each socket of a program, and why."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PROGRAM = """
import fcntl, os, socket, sys
I, S = socket.AF_INET, socket.SOCK_STREAM
stack, kernel, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
def made():
    s = socket.socket(I, S); keep.append(s); return s
keep = []
made().bind((stack, 7000))                                   # 1
made().bind(("0.0.0.0", 7001))                               # 2
made().bind(("127.0.0.1", 7002))                             # 3
made().connect((kernel, port))                               # 4
try: made().connect(("127.0.0.1", 1))                        # 5
except ConnectionRefusedError: pass
keep.append(socket.socket(I, socket.SOCK_RAW, 255))          # 6
s = made(); fcntl.fcntl(s, fcntl.F_SETFL, os.O_ASYNC)        # 7
keep.append(socket.socket(socket.AF_UNIX))                   # says nothing
print(*[s.fileno() for s in keep])
"""
WANT = (("stackd", f"bound to stackd's address {stk.STACK} port 7000"),
        ("both", "the kernel for others: 0.0.0.0 port 7001"),
        ("kernel", "bound to an address that is not stackd's"),
        ("stackd", f"connects to {stk.KERNEL} port"),
        ("kernel", "no route of stackd's leads to 127.0.0.1 port 1"),
        ("kernel", "stackd has no such socket: type, protocol 3, 255"),
        ("kernel", "O_ASYNC"))


def run(d, *args):
    r = subprocess.run([os.path.join(stk.PLAIN, "stackrun"), "--run-dir", d.run_dir, *args],
                       capture_output=True, text=True, timeout=stk.HANG)
    stk.check(r.returncode == 0, r.stderr)
    return r


@stk.test()
def every_reason():
    """A socket per reason; a line for each, with its fd; without --why not a word."""
    import socket
    with stk.stackd() as d, socket.create_server((stk.KERNEL, 0)) as ls:
        prog = [sys.executable, "-c", PROGRAM, stk.STACK, stk.KERNEL, str(ls.getsockname()[1])]
        r = run(d, "--why", *prog)
        for fd, (carrier, why) in zip(r.stdout.split(), WANT):
            stk.check(any(f"fd {fd}: {carrier}: " in x and why in x for x in r.stderr.splitlines()),
                      f"fd {fd}: {carrier}: {why}: not in\n{r.stderr}")
        stk.check(len(r.stderr.splitlines()) == len(WANT), r.stderr)
        stk.check(run(d, *prog).stderr == "", "it speaks unasked")


@stk.test()
def no_daemon():
    """Each socket is the kernel's, and that is the reason."""
    with stk.stackd() as d:
        r = subprocess.run([os.path.join(stk.PLAIN, "stackrun"), "--run-dir", "/tmp/none", "--why",
                            sys.executable, "-c", "import socket; socket.socket()"],
                           capture_output=True, text=True, timeout=stk.HANG)
        stk.check("kernel: there is no daemon" in r.stderr, r.stderr)
        d.wait_clean()


HOLD = """
import socket, sys
a = socket.create_server((sys.argv[1], 7000)); b = socket.create_server(("127.0.0.1", 7001))
c = socket.create_connection((sys.argv[2], int(sys.argv[3]))); u = socket.socketpair()[0]
d = socket.socket(); print(a.fileno(), b.fileno(), c.fileno(), u.fileno(), d.fileno(), flush=True)
sys.stdin.read()
"""


@stk.test()
def by_pid():
    """stackctl why PID: of a program on stackd, of one without the shim, of none."""
    import socket
    with stk.stackd() as d, socket.create_server((stk.KERNEL, 0)) as ls:
        port = str(ls.getsockname()[1])
        prog = [sys.executable, "-c", HOLD, stk.STACK, stk.KERNEL, port]
        p = d.stackrun(prog, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        a, b, c, u, x = p.stdout.readline().split()
        ctl = [os.path.join(stk.PLAIN, "stackctl"), "--run-dir", d.run_dir, "why"]
        lines = d.run([*ctl, str(p.pid)]).decode().splitlines()
        for fd, words in ((a, ("stackd", "LISTEN", f"{stk.STACK}:7000")),
                          (b, ("kernel", "127.0.0.1:7001", "not stackd's")),
                          (c, ("stackd", "ESTABLISHED", f"{stk.KERNEL}:{port}")),
                          (u, ("kernel", "unix")), (x, ("stackd", "neither bound"))):
            line = [n for n in lines if n.split()[1] == fd]
            stk.check(len(line) == 1 and all(w in line[0] for w in words), f"fd {fd}: {words}: {lines}")
        p.stdin.close()
        p.wait(stk.HANG)
        k = d.start([sys.executable, "-c", HOLD, stk.KERNEL, stk.KERNEL, port], stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, text=True)
        k.stdout.readline()
        got = d.run([*ctl, str(k.pid)]).decode()
        stk.check(got.count("without the shim") >= 3 and "stackd  " not in got, got)
        d.stop(k)
        r = subprocess.run([*ctl, "999999"], capture_output=True, text=True)
        stk.check(r.returncode == 1 and "999999" in r.stderr, r.stderr)


if __name__ == "__main__":
    stk.main()
