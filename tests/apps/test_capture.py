#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stackctl capture, read by tshark: while it is written and afterwards, filtered, with a reader that does
not keep up, and over the end of an engine."""
import os
import re
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "fault"), HERE]
import stk                                                                    # noqa: E402
import test_engine_kill as kill                                               # noqa: E402
from test_nginx import Nginx, url                                             # noqa: E402
stk.forget_tests()


class Capture:
    """A running `stackctl capture -w FILE`."""

    def __init__(self, d, *args, file="a.pcapng", stdout=None):
        stk.need("tshark")
        ctl = os.path.join(stk.PLAIN, "stackctl")
        if not os.path.exists(ctl + "-capture"):
            raise stk.Skip("built without libwiretap-dev")
        self.file = os.path.join(d.dir, file)
        self.p = subprocess.Popen([ctl, "--run-dir", d.run_dir, "capture", "-w",
                                   "-" if stdout else self.file, *args], stdout=stdout,
                                  stderr=subprocess.PIPE, text=True)
        line = self.p.stderr.readline()
        stk.check(f"capturing on {d.ifname}" in line, f"stackctl capture: {line}")

    def end(self):
        """Interrupt it. Return: (frames written, dropped)."""
        self.p.send_signal(signal.SIGINT)
        err = self.p.communicate(timeout=stk.HANG)[1]
        stk.check(self.p.returncode == 0, f"exit {self.p.returncode}: {err}")
        return tuple(int(x) for x in re.search(r"(\d+) frames captured, (\d+) dropped", err).groups())


def tshark(args):
    r = subprocess.run(["tshark", "-n", *args], capture_output=True, text=True, timeout=6 * stk.HANG)
    stk.check(r.returncode == 0, f"tshark {args}: {r.returncode} {r.stderr}")
    return r.stdout.splitlines()


def requests(file, *fields):
    return tshark(["-r", file, "-Y", "http.request", "-T", "fields", "-e", "http.request.uri", *fields])


def seen(file, uri):
    stk.wait_for(f"{uri} is in the file", lambda: any(uri in x for x in requests(file)))


@stk.test(*stk.workers(1, 2))
def live(workers):
    """The file is read again and again while it grows; at the end it has every byte that was served."""
    with stk.stackd(workers=workers) as d:
        n = Nginx(d, size=1 << 20)
        c = Capture(d)
        for uri in ("/one", "/big"):
            d.run(["curl", "-sS", "-o", "/dev/null", url(uri)])
            seen(c.file, uri)
        stk.check(c.end()[1] == 0, "frames were dropped")
        sent = {}
        for line in tshark(["-r", c.file, "-Y", "tcp", "-T", "fields", "-e", "frame.interface_name", "-e",
                            "frame.packet_flags_direction", "-e", "ip.src", "-e", "tcp.len"]):
            way, size = line.rsplit("\t", 1)
            sent[way] = sent.get(way, 0) + int(size)
        stk.check(sent.get(f"{d.ifname}\t0x00000001\t{stk.KERNEL}", 0) > 0 and
                  sent.get(f"{d.ifname}\t0x00000002\t{stk.STACK}", 0) > 1 << 20, f"{sent}")
        n.stop()
        d.wait_clean()


@stk.test()
def piped():
    """stackctl capture | tshark: a frame is shown when it happens."""
    with stk.stackd() as d:
        n = Nginx(d)
        c = Capture(d, "tcp port 80", stdout=subprocess.PIPE)
        t = subprocess.Popen(["tshark", "-n", "-l", "-r", "-", "-Y", "http.request"], stdin=c.p.stdout,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for i in range(3):
            d.run(["curl", "-sS", "-o", "/dev/null", url(f"/{i}")])
        for i in range(3):
            line = t.stdout.readline()
            stk.check(f"GET /{i} " in line, f"request {i}: {line!r}")
        c.end()
        t.wait(stk.HANG)
        n.stop()


@stk.test()
def filtered():
    """A filter of tcpdump's; two captures at once; the same frames before and after GRO."""
    with stk.stackd(workers=2) as d:
        n = Nginx(d)
        a = Capture(d, "-p", "rx,gro", "tcp", "port", "80", file="a")
        b = Capture(d, "-s", "100", "icmp", file="b")
        d.run(["curl", "-sS", "-o", "/dev/null", url("/small")])
        d.run([sys.executable, "-c", "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
               f"s.connect(('{stk.STACK}', 9)); s.settimeout(10); s.send(b'x' * 500)\n"
               "try: s.recv(1)\nexcept ConnectionRefusedError: pass"])
        a.end()
        stk.check(b.end()[0] == 1, "more than the ICMP error")
        frames = [int(x) for x in tshark(["-r", b.file, "-T", "fields", "-e", "frame.cap_len"])]
        stk.check(frames == [100], f"kept {frames}")
        names = tshark(["-r", a.file, "-T", "fields", "-e", "frame.interface_name", "-e", "ip.dst",
                        "-e", "tcp.dstport"])
        stk.check(set(names) == {f"{d.ifname}{x}\t{stk.STACK}\t80" for x in ("", " after GRO")}, f"{names}")
        n.stop()


@stk.test()
def slow_reader():
    """A reader that stands still: the engine goes on, loses frames for it only, and counts them."""
    with stk.stackd() as d:
        n = Nginx(d, size=32 << 20)
        c = Capture(d, "-B", "256")
        c.p.send_signal(signal.SIGSTOP)
        got = stk.hash_of(["curl", "-sS", url("/big")])
        stk.check(got == n.hash, "hash differs")
        c.p.send_signal(signal.SIGCONT)
        frames, dropped = c.end()
        stk.check(frames > 0 and dropped > 100, f"{frames} frames, {dropped} dropped")
        stk.check(len(tshark(["-r", c.file])) == frames, "not as many frames in the file")
        n.stop()
        d.wait_clean()


@stk.test()
def engine_ends():
    """kill -9 of the engine: the capture goes on with the next one."""
    with kill.stackd() as d:
        engine = kill.engine_pid(d)
        n = Nginx(d)
        c = Capture(d, "tcp port 80")
        d.run(["curl", "-sS", "-o", "/dev/null", url("/before")])
        os.kill(engine, signal.SIGKILL)
        stk.wait_for("requests are captured again", lambda: subprocess.run(
            ["curl", "-sS", "-m", "5", "-o", "/dev/null", url("/later")]).returncode == 0 and
            "/later" in requests(c.file))
        c.end()
        stk.check(requests(c.file)[0] == "/before", "what was captured before")
        n.stop()
        d.wait_clean()


@stk.test()
def refused():
    """Others than root, filters that do not compile, devices that are not there."""
    with stk.stackd() as d:
        for user, args, want in (([], ["tcp port eighty-one"], "filter"), ([], ["-i", "eth9"], "device"),
                                 ([], ["-B", "300"], "Usage"), ([], ["-p", "rx,up"], "Usage"),
                                 (["setpriv", "--reuid=65534", "--clear-groups", "--"], [], "root")):
            ctl = os.path.join(stk.PLAIN, "stackctl")
            if not os.path.exists(ctl + "-capture"):
                raise stk.Skip("built without libwiretap-dev")
            r = subprocess.run([*user, ctl, "--run-dir", d.run_dir, "capture", "-w", "/dev/null", *args],
                               capture_output=True, text=True, timeout=stk.HANG)
            stk.check(r.returncode in (1, 2) and want in r.stderr, f"{args}: {r.returncode} {r.stderr}")


if __name__ == "__main__":
    stk.main()
