#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Python's http.server and asyncio on stackd; the kernel's curl and sockets on the other side."""
import hashlib
import os
import random
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
PROGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs")


@stk.test(*stk.workers(1, 2))
def http_server(workers):
    """32 MiB and a listing from python3 -m http.server."""
    with stk.stackd(workers=workers) as d:
        www = os.path.join(d.dir, "www")
        os.mkdir(www)
        want = stk.make_file(os.path.join(www, "f"), 32 << 20)
        p = d.stackrun([PY, "-m", "http.server", "--bind", stk.STACK, "--directory", www, "8000"])
        stk.wait_port(stk.STACK, 8000)
        with stk.through_stackd(d, 32 << 20):
            got = stk.hash_of(["curl", "-sS", f"http://{stk.STACK}:8000/f"])
        stk.check(got == want, "hash differs")
        stk.check(b"Directory listing" in d.run(["curl", "-sS", f"http://{stk.STACK}:8000/"]), "listing")
        d.stop(p)
        d.wait_clean()


def talk(n, errors):
    """One client of the asyncio server: lines, and echoed blocks of many sizes."""
    rnd = random.Random(n)
    try:
        with socket.create_connection((stk.STACK, 7000), 10) as s:
            s.settimeout(30)
            f = s.makefile("rwb")
            for _ in range(20):
                line = bytes(rnd.choices(b"abcdefgh", k=rnd.randrange(1, 5000))) + b"\n"
                f.write(line)
                f.flush()
                want = b"%d %s\n" % (len(line), hashlib.sha256(line).hexdigest().encode())
                stk.check(f.readline() == want, f"client {n}: wrong line")
                data = rnd.randbytes(rnd.choice((1, 1448, 1449, 16384, 300000)))
                f.write(b"ECHO %d\n" % len(data) + data)
                f.flush()
                stk.check(f.read(len(data)) == data, f"client {n}: echo differs")
    except Exception as e:
        errors.append(f"client {n}: {e!r}")


@stk.test(*stk.workers(1, 2))
def asyncio_server(workers):
    """20 clients at once talk to asyncio.start_server; each byte is checked."""
    with stk.stackd(workers=workers) as d:
        p = d.stackrun([PY, os.path.join(PROGS, "aecho.py"), stk.STACK, "7000"])
        stk.wait_port(stk.STACK, 7000)
        errors = []
        threads = [threading.Thread(target=talk, args=(i, errors)) for i in range(20)]
        with stk.through_stackd(d, 1 << 20):
            for t in threads:
                t.start()
            for t in threads:
                t.join(60)
        stk.check(not errors, "\n".join(errors))
        stk.check(not any(t.is_alive() for t in threads), "a client hangs")
        d.stop(p)
        d.wait_clean()


CLEARED = '''
import os, socket, subprocess, sys
os.environ.clear()
addr, port = sys.argv[1], int(sys.argv[2])
with socket.create_server((addr, port)):
    print("served", flush=True)
    if port < 7002:
        subprocess.run([sys.executable, "-c", sys.argv[3], addr, str(port + 1), sys.argv[3]], check=True)
'''


@stk.test()
def cleared_environment():
    """A program empties its environment before its first socket, and so does what it runs; --why goes on."""
    import subprocess
    with stk.stackd() as d:
        cmd = d.on_stack(["--why", PY, "-c", CLEARED, stk.STACK, "7000", CLEARED])
        r = subprocess.run(cmd, capture_output=True, text=True, timeout=stk.HANG)
        stk.check(r.stdout == "served\n" * 3 and r.returncode == 0, f"{r}")
        stk.check(r.stderr.count(f"stackd: bound to stackd's address {stk.STACK}") == 3, r.stderr)
        d.wait_clean()


@stk.test()
def no_daemon():
    """Without a daemon a program runs on the kernel's stack, with one warning."""
    import subprocess
    run = os.path.join(stk.PLAIN, "stackrun")
    code = ("import socket,os\n"
            "s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen()\n"
            "c=socket.create_connection(s.getsockname()); a,_=s.accept(); c.send(b'x')\n"
            "pid=os.fork()\n"
            "if pid==0:\n  t=socket.socket(); os._exit(0)\n"
            "os.waitpid(pid,0); print(a.recv(1))\n")
    r = subprocess.run([run, "--run-dir", "/tmp/none", PY, "-c", code], capture_output=True,
                       text=True, timeout=stk.HANG)
    stk.check(r.returncode == 0 and r.stdout == "b'x'\n", f"{r.returncode} {r.stdout} {r.stderr}")
    lines = [x for x in r.stderr.splitlines() if "stackd" in x]
    stk.check(len(lines) == 1, f"{len(lines)} warnings: {r.stderr}")


if __name__ == "__main__":
    stk.main()
