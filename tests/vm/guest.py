# SPDX-License-Identifier: MIT
"""tests/vm/guest.py - the guest's side: ask the host, report results, handle NICs"""
import glob
import json
import os
import shutil
import subprocess
import sys
import termios
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
from checks import Failed, Skip, check, wait_until      # noqa: E402

BUILD = "/run/stackd-build"
# Copies: a build that goes on beside the test must not change programs under it.
os.makedirs(BUILD, exist_ok=True)
for name in ("stackd", "stackctl", "stackrun", "libstackd.so", "tests/vm-badaddr"):
    shutil.copy(os.path.join(ROOT, "build", name), BUILD)


class Host:
    """The other end of the second serial line."""

    def __init__(self):
        self.fd = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
        t = termios.tcgetattr(self.fd)
        t[0] = t[1] = t[3] = 0
        t[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
        t[4] = t[5] = termios.B115200
        termios.tcsetattr(self.fd, termios.TCSANOW, t)
        self.buf = b""

    def send(self, **q):
        data = json.dumps(q).encode() + b"\n"
        while data:
            data = data[os.write(self.fd, data):]

    def ask(self, **q):
        self.send(**q)
        while b"\n" not in self.buf:
            self.buf += os.read(self.fd, 65536)
        line, self.buf = self.buf.split(b"\n", 1)
        return json.loads(line)

    def sh(self, cmd, timeout=300, ok=True):
        r = self.ask(op="sh", cmd=cmd, timeout=timeout)
        check(not ok or r["rc"] == 0, f"host: {cmd}: exit {r['rc']}\n{r['out']}")
        return r["out"]

    def start(self, cmd):
        return self.ask(op="start", cmd=cmd)["job"]

    def wait(self, job, timeout=60):
        r = self.ask(op="wait", job=job, timeout=timeout)
        check(r["rc"] == 0, f"host job: exit {r['rc']}\n{r['out']}")
        return r["out"]

    def monitor(self, what, **args):
        return self.ask(op="monitor", what=what, args=args)


host = Host()


def tap(line):
    print(line, flush=True)
    host.send(op="tap", line=line)


def sh(cmd, timeout=300, ok=True):
    r = subprocess.run(["sh", "-c", cmd], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       stdin=subprocess.DEVNULL, timeout=timeout)
    out = r.stdout.decode(errors="replace")
    check(not ok or r.returncode == 0, f"{cmd}: exit {r.returncode}\n{out[-3000:]}")
    return out


def wait_for(what, fn, limit=150):
    return wait_until(what, fn, limit, 0.1)


def nics():
    """Name -> PCI address of the NICs (class 0x020000 exactly: 9p is 0x000200)."""
    ids = {"0x1af4:0x1041": "virtio", "0x8086:0x10d3": "e1000e", "0x8086:0x10c9": "igb"}
    found = {}
    for d in sorted(glob.glob("/sys/bus/pci/devices/*")):
        with open(d + "/class") as f:
            if f.read().strip() != "0x020000":
                continue
        key = ":".join(open(f"{d}/{x}").read().strip() for x in ("vendor", "device"))
        if key in ids:
            name = ids[key] if ids[key] not in found else "packed"
            found[name] = os.path.basename(d)
    return found


def bound(pci):
    """The name of the driver that a device is bound to, "" = none."""
    link = f"/sys/bus/pci/devices/{pci}/driver"
    return os.path.basename(os.readlink(link)) if os.path.exists(link) else ""


def ifname(pci):
    names = glob.glob(f"/sys/bus/pci/devices/{pci}/net/*") + \
        glob.glob(f"/sys/bus/pci/devices/{pci}/virtio*/net/*")
    return os.path.basename(names[0]) if names else ""


def run_tests(tests):
    """tests: (group, name, fn). When the first of a group fails, the others cannot run."""
    bad, first, broken = 0, None, set()
    for group, name, fn in tests:
        head = group != first
        first = group
        if group in broken:
            tap(f"not ok {name}")
            continue
        start = time.monotonic()
        try:
            fn()
            tap(f"ok {name} # {time.monotonic() - start:.1f} s")
        except Skip as e:
            tap(f"ok {name} # SKIP {e}")
        except Exception as e:
            bad += 1
            if head:
                broken.add(group)
            text = str(e) if isinstance(e, Failed) else traceback.format_exc()
            tap(f"not ok {name}")
            for line in text.strip().splitlines()[-60:]:
                tap("# " + line)
    return bad


def end(code):
    host.send(op="tap", line="")
    sys.exit(code)
