# SPDX-License-Identifier: MIT
"""tests/lib/stk.py - what program tests stand on.

A test file is run inside namespaces of its own (network, mounts, processes): whatever it starts dies
with it, also after kill -9, and nothing of the host's network is ever seen. In there, a Stackd is a
daemon on a TAP: 192.0.2.2 is stackd's, 192.0.2.1 the kernel's on the same TAP. With dev="packet" or
"xdp" (or STK_DEV in the environment) the two are the ends of a veth pair, and the daemon with its end
is in a network namespace of its own. With "shared", by XDP, the kernel of that namespace has 192.0.2.2
as well, and programs on stackd run there.

Output is TAP: "ok NAME", "not ok NAME", "ok NAME # SKIP why"; tests/run.py adds them up.
"""
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

from checks import Failed, Skip, check, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("STK_BUILD", os.path.join(ROOT, "build"))
# The shim is always the plain build: a sanitized one cannot be preloaded into plain programs.
PLAIN = os.path.join(ROOT, "build")
TESTS = os.path.join(PLAIN, "tests")        # programs of the tests' own
STACK = "192.0.2.2"
KERNEL = "192.0.2.1"
HANG = 10                                   # seconds: nothing local may take longer to answer


def need(program):
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if not path:
        raise Skip(f"{program} is not installed")
    return path


def wait_for(what, fn, limit=HANG):
    return wait_until(what, fn, limit, 0.02)


def enter_namespaces():
    """Run this very script again as pid 1 of namespaces of its own, once."""
    if os.environ.get("STK_NS") == "1":
        return
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root (namespaces, TAP)")
        sys.exit(77)
    os.environ["STK_NS"] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL",
                          "--mount-proc", sys.executable] + sys.argv)


def private_tmp():
    """Empty /tmp and /dev/shm of our own; a project that lies below /tmp stays where it is."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
    keep = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/tmp"], check=True)
    if ROOT.startswith("/tmp/"):
        os.makedirs(ROOT)
        subprocess.run(["mount", "-c", "--bind", f"/proc/self/fd/{keep}", ROOT], check=True,
                       pass_fds=[keep])
        os.chdir(ROOT)
    os.close(keep)
    use_copies()


def use_copies():
    """Programs that run as other users must reach the shim, wherever the project lies (/root, say)."""
    global PLAIN
    there = "/tmp/stk-bin"
    os.makedirs(there, 0o755, exist_ok=True)
    for name in ("stackrun", "stackctl", "stackctl-capture", "libstackd.so"):
        if os.path.exists(os.path.join(PLAIN, name)) or name != "stackctl-capture":
            shutil.copy(os.path.join(PLAIN, name), there)
    PLAIN = there


def netns_of(pid):
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def veth_peer(pid, dev, queues=1):
    """A veth pair: stk0 here, with the kernel's address, its peer eth1 in the namespace of pid."""
    wait_for("a network namespace", lambda: netns_of(pid) != netns_of("self"))
    n = str(queues)
    both = ["numtxqueues", n, "numrxqueues", n]
    for cmd in (["ip", "link", "add", "stk0", *both, "type", "veth", "peer", "name", "eth1", *both],
                ["ip", "link", "set", "eth1", "netns", str(pid)],
                ["ip", "addr", "add", KERNEL + "/24", "dev", "stk0"],
                ["ip", "link", "set", "stk0", "up"]):
        subprocess.run(cmd, check=True)
    if dev == "shared":
        subprocess.run(["nsenter", "-t", str(pid), "-n", "sh", "-c",
                        f"ip link set lo up; ip addr add {STACK}/24 dev eth1; ip link set eth1 up"],
                       check=True)
    if dev in ("xdp", "shared"):        # XDP sees frames whose checksum the peer has left to a device
        subprocess.run([need("ethtool"), "-K", "stk0", "tx", "off"], check=True,
                       stdout=subprocess.DEVNULL)


class Stackd:
    """A daemon on a device, and the programs around it."""

    def __init__(self, workers=1, netdev="", args=(), wait=True, dev=None, binary=None):
        self.dir = tempfile.mkdtemp(prefix="stk-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.run_dir = os.path.join(self.dir, "run")
        self.procs = []
        self.ended = False      # a test says so when it has killed engine or daemon itself
        self.log = open(os.path.join(self.dir, "stackd.log"), "w+")
        self.dev = dev or os.environ.get("STK_DEV", "tap")
        self.ifname = "stk0" if self.dev == "tap" else "eth1"
        spec = f"tap,name=stk0,addr={STACK}/24,peer={KERNEL}/24"
        if self.dev != "tap":
            spec = f"{self.dev.replace('shared', 'xdp')},if=eth1,addr={STACK}/24"
        cmd = [binary or os.path.join(BUILD, "stackd"), "--run-dir", self.run_dir, "--workers", str(workers),
               "--netdev", spec + ("," + netdev if netdev else ""), *args]
        if self.dev == "tap":
            self.cmd = cmd
            self.restart(wait)
        else:
            self._start_on_veth(cmd, workers)
            if wait:
                wait_for("stackd starts", self._up, 30)

    def restart(self, wait=True):
        """Start the daemon, or start it again after its end, on a TAP."""
        self.proc = subprocess.Popen(self.cmd, stdout=self.log, stderr=self.log)
        if wait:
            wait_for("stackd starts", self._up, 30)

    def _start_on_veth(self, cmd, workers):
        """In a network namespace of its own, which ends with it; it waits for its interface."""
        self.proc = subprocess.Popen(["unshare", "--net", "sh", "-c", 'read go; exec "$@"', "sh", *cmd],
                                     stdin=subprocess.PIPE, stdout=self.log, stderr=self.log)
        try:
            veth_peer(self.proc.pid, self.dev, workers)
        except BaseException:
            self.proc.kill()
            raise
        self.proc.stdin.write(b"go\n")
        self.proc.stdin.close()

    def _up(self):
        check(self.proc.poll() is None, "stackd ended at start:\n" + self.logs())
        r = subprocess.run(self._ctl("netdev"), capture_output=True, text=True, timeout=HANG)
        return r.returncode == 0

    def _ctl(self, topic):
        return [os.path.join(PLAIN, "stackctl"), "--run-dir", self.run_dir, "--json", "show", topic]

    def logs(self):
        self.log.flush()
        with open(self.log.name, errors="replace") as f:
            return f.read()[-6000:]

    def show(self, topic):
        r = subprocess.run(self._ctl(topic), capture_output=True, text=True, timeout=HANG)
        check(r.returncode == 0,
              f"stackctl show {topic}: exit {r.returncode} {r.stderr}\n{self.logs()}")
        return json.loads(r.stdout)

    def sysctl(self, word):
        """NAME or NAME=VALUE. Return: the value now, None when it was refused."""
        r = subprocess.run([os.path.join(BUILD, "stackctl"), "--run-dir", self.run_dir, "--json",
                            "sysctl", word], capture_output=True, text=True, timeout=HANG)
        return json.loads(r.stdout)[word.split("=")[0]] if r.returncode == 0 else None

    def env(self):
        return dict(os.environ, STACKD_RUN_DIR=self.run_dir)

    def stackrun(self, args, **kw):
        """Start a program on stackd. Output goes to its log unless told otherwise."""
        return self.start(self.on_stack(args), **kw)

    def on_stack(self, args):
        """The command line that runs a program on stackd."""
        there = ["nsenter", "-t", str(self.proc.pid), "-n"] if self.dev == "shared" else []
        return [*there, os.path.join(PLAIN, "stackrun"), "--run-dir", self.run_dir, *args]

    def start(self, args, **kw):
        """Start a program, leader of a process group: some end theirs with kill(0)."""
        kw.setdefault("start_new_session", True)
        kw.setdefault("stdout", self.log)
        kw.setdefault("stderr", self.log)
        kw.setdefault("stdin", subprocess.DEVNULL)
        p = subprocess.Popen(args, **kw)
        self.procs.append(p)
        return p

    def run(self, args, timeout=HANG * 6, on_stack=False, **kw):
        """Run a program to its end; non-zero exit fails the test. Return: its stdout as bytes."""
        if on_stack:
            args = self.on_stack(args)
        r = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           stdin=subprocess.DEVNULL, timeout=timeout, **kw)
        check(r.returncode == 0, f"{' '.join(args)}: exit {r.returncode}\n" +
              r.stderr.decode(errors="replace")[-2000:] + r.stdout.decode(errors="replace")[-500:])
        return r.stdout

    def stop(self, p, sig=signal.SIGTERM):
        if p.poll() is None:
            p.send_signal(sig)
            try:
                p.wait(HANG)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
                raise Failed(f"{p.args[0:6]} did not end within {HANG} s of signal {sig}")
        if p in self.procs:
            self.procs.remove(p)

    def dev_bytes(self):
        """(received, sent) by stackd's device."""
        rx = tx = 0
        for q in self.show("netdev")["netdev"]:
            rx += q["rx_bytes"]
            tx += q["tx_bytes"]
        return rx, tx

    def left(self):
        """What should be zero when no program runs; {} when it is."""
        w = self.show("workers")["workers"]
        left = {"sockets": len([s for s in self.show("sockets")["sockets"]
                                if s.get("state") != "TIME_WAIT"]),
                "programs": len(self.show("programs")["programs"]),
                "packets": sum(x["packets"] for x in w),
                "tcbs": sum(x["tcbs"] for x in w),
                "chunks": sum(x.get("chunks", 0) for x in w)}
        return {k: v for k, v in left.items() if v}

    def wait_clean(self, limit=HANG):
        """Sockets, programs, chunks and buffers return to zero after the programs ended."""
        end = time.monotonic() + limit
        while True:
            left = self.left()
            if not left:
                return
            if time.monotonic() > end:
                socks = json.dumps(self.show("sockets")["sockets"][:5])
                raise Failed(f"not returned to zero: {left}\n{socks}")
            time.sleep(0.1)

    def alive(self):
        check(self.ended or self.proc.poll() is None, "stackd died:\n" + self.logs())
        text = self.logs()
        for bad in ("AddressSanitizer", "runtime error:", "ASSERT", "assertion", "engine died",
                    "ThreadSanitizer"):
            check(bad not in text or self.ended and bad == "engine died",
                  f"stackd's log has '{bad}':\n{text}")

    def close(self):
        for p in self.procs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
            p.wait()
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(HANG)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                raise Failed("stackd did not stop within 10 s of SIGTERM")
        if self.dev != "tap":   # it goes with its namespace, but later
            subprocess.run(["ip", "link", "del", "stk0"], stderr=subprocess.DEVNULL, check=False)
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


@contextlib.contextmanager
def stackd(**kw):
    d = Stackd(**kw)
    try:
        yield d
        d.alive()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        print("# --- stackd's log ---\n# " + d.logs().replace("\n", "\n# "))
        raise
    finally:
        d.close()


@contextlib.contextmanager
def through_stackd(d, at_least):
    """The block's traffic went through stackd: its device counted at least so many bytes."""
    before = sum(d.dev_bytes())
    yield
    went = sum(d.dev_bytes()) - before
    check(went >= at_least, f"only {went} bytes went through stackd, expected {at_least}")


def make_file(path, size, seed=1):
    """A file of pseudo-random bytes, no two MiB alike. Return: its SHA-256."""
    block = bytearray(random.Random(seed).randbytes(1 << 20))
    h = hashlib.sha256()
    with open(path, "wb") as f:
        i = 0
        while size > 0:
            block[:8] = i.to_bytes(8, "little")
            part = block[:min(size, len(block))]
            f.write(part)
            h.update(part)
            size -= len(part)
            i += 1
    return h.hexdigest()


def hash_of(args, timeout=300, **kw):
    """SHA-256 of a program's stdout, streamed."""
    p = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         stdin=subprocess.DEVNULL, **kw)
    h = hashlib.sha256()
    killer = signal.signal(signal.SIGALRM, lambda *_: p.kill())
    signal.alarm(timeout)
    try:
        while True:
            part = p.stdout.read(1 << 20)
            if not part:
                break
            h.update(part)
        p.wait()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, killer)
    check(p.returncode == 0,
          f"{' '.join(args)}: exit {p.returncode} " + p.stderr.read().decode(errors="replace")[-500:])
    return h.hexdigest()


def wait_port(addr, port):
    def up():
        try:
            socket.create_connection((addr, port), 1).close()
            return True
        except OSError:
            return False
    wait_for(f"{addr}:{port} answers", up)


_tests = []


def test(*variants):
    """Mark a test; one run per variant, each a dict of keyword arguments (default: one, empty)."""
    def mark(fn):
        for v in variants or ({},):
            _tests.append((fn, v))
        return fn
    return mark


def forget_tests():
    """Drop what importing another test file has marked."""
    _tests.clear()


def workers(*counts):
    return [{"workers": n} for n in counts]


def main():
    """Run the file's tests, in namespaces of their own. Arguments: parts of names to run only those."""
    # A shell that starts us in the background has them ignored, and programs would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    enter_namespaces()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    private_tmp()
    bad = 0
    for fn, kw in _tests:
        name = fn.__name__ + "".join(f"[{k}={v}]" for k, v in kw.items())
        if len(sys.argv) > 1 and not any(a in name for a in sys.argv[1:]):
            continue
        start = time.monotonic()
        try:
            fn(**kw)
            print(f"ok {name} # {time.monotonic() - start:.1f} s", flush=True)
        except Skip as e:
            print(f"ok {name} # SKIP {e}", flush=True)
        except Exception as e:
            bad += 1
            text = str(e) if isinstance(e, Failed) else traceback.format_exc()
            print(f"not ok {name}\n# " + text.strip().replace("\n", "\n# "), flush=True)
    sys.exit(1 if bad else 0)
