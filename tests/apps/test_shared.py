#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One interface, one address, two stacks: the kernel keeps them, stackd's sockets get their packets (XDP)."""
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
PROGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs")


def refused():
    try:
        socket.create_connection((stk.STACK, 80), stk.HANG).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


class Asker(threading.Thread):
    """Asks a web server again and again, a connection each; knows how often it failed, and when."""

    def __init__(self, port, path="/"):
        super().__init__(daemon=True)
        self.port, self.path = port, path
        self.good = 0
        self.errors = []
        self.stop_now = False

    def once(self):
        with socket.create_connection((stk.STACK, self.port), stk.HANG) as s:
            s.sendall(f"GET {self.path} HTTP/1.0\r\n\r\n".encode())
            data = b""
            while True:
                part = s.recv(65536)
                if not part:
                    break
                data += part
        stk.check(b" 200 OK" in data[:20], f"port {self.port}: {data[:60]!r}")

    def run(self):
        while not self.stop_now:
            try:
                self.once()
                self.good += 1
            except Exception as e:                                            # noqa: BLE001
                self.errors.append((time.monotonic(), repr(e)))
            time.sleep(0.01)

    def end(self):
        self.stop_now = True
        self.join(stk.HANG * 2)
        stk.check(not self.is_alive(), f"the asker of port {self.port} hangs")


def in_ns(d, *args):
    return ["nsenter", "-t", str(d.proc.pid), "-n", *args]


def kernel_web(d, port):
    """A web server of the kernel's stack on the shared address, in stackd's namespace."""
    www = os.path.join(d.dir, "kwww")
    os.makedirs(www, exist_ok=True)
    stk.make_file(os.path.join(www, "f"), 100000)
    return d.start(in_ns(d, PY, "-m", "http.server", "--bind", stk.STACK, "--directory", www, str(port)),
                   stderr=subprocess.DEVNULL)


def ping():
    """The kernel of the other side answers an echo."""
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.settimeout(stk.HANG)
    s.sendto(struct.pack("!BBHHH", 8, 0, 0xf7ff - 0x1234 - 1, 0x1234, 1), (stk.STACK, 0))
    while s.recv(100)[20:21] != b"\0":
        pass


def nginx(d):
    import test_nginx
    return test_nginx.Nginx(d)


def shared(workers=1, netdev=""):
    return stk.stackd(dev="shared", workers=workers, netdev=netdev)


@stk.test({"workers": 1, "attach": "native"}, {"workers": 2, "attach": "native"},
          {"workers": 1, "attach": "generic"})
def two_servers(workers, attach):
    """The kernel's web server answers throughout start, kill -9 of the engine, and stop; nginx, too."""
    with shared(workers=workers, netdev=f"attach={attach}") as d:
        kernel_web(d, 8080)
        stk.wait_port(stk.STACK, 8080)
        kernel = Asker(8080, "/f")
        kernel.start()
        n = nginx(d)
        ours = Asker(80, "/small")
        ours.start()
        stk.wait_for("both serve", lambda: kernel.good > 20 and ours.good > 20)
        ping()
        engine = int(d.run(["pgrep", "-P", str(d.proc.pid)]).split()[0])
        os.kill(engine, signal.SIGKILL)
        g, o = kernel.good, ours.good
        stk.wait_for("both serve after the kill", lambda: kernel.good > g + 20 and ours.good > o + 20, 30)
        stk.check(not ours.errors, f"nginx: {ours.errors[:3]}")
        ours.end()
        n.stop()
        # Nobody listens on stackd's side now: the port is the kernel's again, which refuses.
        stk.wait_for("port 80 is refused", refused)
        # A namespace without stackd must stay: hold it by the kernel's server.
        g = kernel.good
        d.proc.terminate()
        d.proc.wait(stk.HANG)
        stk.wait_for("the kernel serves after stackd's end", lambda: kernel.good > g + 20)
        kernel.end()
        stk.check(not kernel.errors, f"the kernel's server: {kernel.errors[:3]}")
        d.ended = True


@stk.test()
def killed_outright():
    """kill -9 of the supervisor: no XDP program stays, the kernel has everything again."""
    with shared() as d:
        kernel_web(d, 8080)
        stk.wait_port(stk.STACK, 8080)
        holder = d.start(in_ns(d, "sleep", "60"))
        n = nginx(d)
        stk.check("xdp" in d.run(in_ns(d, "ip", "link", "show", "eth1")).decode(), "no XDP program")
        d.proc.kill()
        d.proc.wait()
        stk.wait_for("the program is gone", lambda: b"xdp" not in d.run(
            ["nsenter", "-t", str(holder.pid), "-n", "ip", "link", "show", "eth1"]))
        Asker(8080, "/f").once()
        n.p.kill()
        d.ended = True


@stk.test(*stk.workers(1, 2))
def clients_of_both(workers):
    """Clients of the kernel and of stackd, from one address to one server, at the same time."""
    with shared(workers=workers) as d:
        www = os.path.join(d.dir, "www")
        os.mkdir(www)
        want = stk.make_file(os.path.join(www, "f"), 8 << 20)
        d.start([PY, os.path.join(PROGS, "sink.py"), stk.KERNEL, "8080"], cwd=www)
        stk.wait_port(stk.KERNEL, 8080)
        url = f"http://{stk.KERNEL}:8080/f"
        mine = d.on_stack(["curl", "-sS", url])
        for _ in range(3):
            p = [subprocess.Popen(c, stdout=subprocess.PIPE) for c in
                 (in_ns(d, "curl", "-sS", url), mine)]
            import hashlib
            got = [hashlib.sha256(q.communicate(timeout=60)[0]).hexdigest() for q in p]
            stk.check(got == [want, want], f"kernel, stackd: {got} instead of {want}")
        rx, _tx = d.dev_bytes()
        stk.check(3 * (8 << 20) < rx < 4 * (8 << 20), f"stackd saw {rx} bytes: not its own only")
        d.wait_clean()


@stk.test()
def fragments_and_errors():
    """Datagrams in fragments reach stackd's UDP socket; ICMP errors reach who caused them."""
    with shared() as d:
        d.stackrun([PY, os.path.join(PROGS, "udpecho.py"), stk.STACK, "7007"])
        stk.wait_for("the server is bound",
                     lambda: [s for s in d.show("sockets")["sockets"] if s["proto"] == "udp"])
        c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        c.settimeout(stk.HANG)
        c.connect((stk.STACK, 7007))
        for size in (10, 1472, 1473, 4000, 20000):
            data = bytes((i * 7 + size) % 251 for i in range(size))
            c.send(data)
            stk.check(c.recv(65536) == data, f"{size} bytes")
        code = ("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(10)\n"
                f"s.connect(('{stk.KERNEL}', 9))\ns.send(b'x')\n"
                "try:\n s.recv(10)\nexcept ConnectionRefusedError:\n print('refused')")
        for how in (d.stackrun, None):
            if how:
                out = d.run([PY, "-c", code], on_stack=True)
            else:
                out = d.run(in_ns(d, PY, "-c", code))
            stk.check(out == b"refused\n", f"{out!r}")


if __name__ == "__main__":
    import test_nginx                                                         # noqa: F401
    mine = [t for t in stk._tests if t[0].__module__ == "__main__"]
    stk._tests[:] = mine
    stk.main()
