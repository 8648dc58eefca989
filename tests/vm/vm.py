# SPDX-License-Identifier: MIT
"""tests/vm/vm.py - the host's side of the virtual machine

Runs QEMU with emulated VT-d and four NICs, each on a TAP of this network namespace whose kernel is the
peer. The test itself runs in the guest (tests/vm/guest.py); it asks this side for commands and for
QEMU's monitor over the second serial line: one JSON object a line each way.
"""
import json
import os
import select
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import fetch                                            # noqa: E402

NICS = [                                                # netdev, device, TAP, network
    ("n0", "virtio-net-pci,disable-legacy=on,iommu_platform=on,mq=on,vectors=8", "T0", "10.77.0"),
    ("n1", "e1000e", "T1", "10.77.1"),
    ("n2", "igb", "T2", "10.77.2"),
    ("n3", "virtio-net-pci,disable-legacy=on,iommu_platform=on,mq=on,vectors=8,packed=on,rss=on,hash=on",
     "T3", "10.77.3"),
]
LOST = "Possible timer handling issue on cpu"           # the guest's kernel says so, and stands still


class LostTimer(RuntimeError):
    """Of the emulator's doing: seen once, on a machine that had other work."""


class VM:
    def __init__(self, script, folder, limit, nics=NICS):
        self.folder, self.end = folder, time.monotonic() + limit
        self.jobs = {}
        self.nics = nics
        got = fetch.ensure()
        self.console = open(os.path.join(folder, "console.log"), "wb")
        self.proc = subprocess.Popen(["nice", "-n", "5", *self._command(got, script)],
                                     stdin=subprocess.DEVNULL, stdout=self.console,
                                     stderr=subprocess.STDOUT)
        self.rpc = self._connect("rpc")
        self.qmp = self._connect("qmp").makefile("rw")
        self.qmp.readline()
        self.monitor("qmp_capabilities")
        for _, _, tap, net in nics:
            self.sh(f"ip link set {tap} up; ip addr add {net}.1/24 dev {tap}")

    def _command(self, got, script):
        d = self.folder
        cmd = [*fetch.qemu_command(), "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
               "-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi,tb-size=512",
               "-cpu", "max", "-smp", "2", "-m", "1500M",
               "-kernel", os.path.join(fetch.VM, got["kernel"]),
               "-initrd", os.path.join(fetch.VM, "guest.cpio"),
               "-append", "console=ttyS0 quiet panic=-1 loglevel=4 no_timer_check tsc=reliable "
               f"mitigations=off intel_iommu=on rdinit=/init run={script}",
               "-serial", "stdio", "-chardev", f"socket,id=rpc,path={d}/rpc,server=on,wait=off",
               "-serial", "chardev:rpc", "-qmp", f"unix:{d}/qmp,server=on,wait=off",
               "-device", "intel-iommu,intremap=on",
               "-fsdev", "local,id=fs0,path=/,security_model=none,readonly=on,multidevs=remap",
               "-device", "virtio-9p-pci,fsdev=fs0,mount_tag=hostroot"]
        for net, dev, tap, _ in self.nics:
            queues = ",queues=2" if "mq=on" in dev else ""
            cmd += ["-netdev", f"tap,id={net},ifname={tap},script=no,downscript=no,vhost=off{queues}",
                    "-device", f"{dev},netdev={net},id=d{net},romfile="]
        return cmd

    def _connect(self, name):
        s = socket.socket(socket.AF_UNIX)
        for _ in range(500):
            try:
                s.connect(os.path.join(self.folder, name))
                return s
            except OSError:
                if self.proc.poll() is not None:
                    raise RuntimeError("QEMU ended: " + self.log()) from None
                time.sleep(0.02)
        raise RuntimeError("QEMU does not listen")

    def log(self, most=6000):
        self.console.flush()
        with open(self.console.name, errors="replace") as f:
            return f.read()[-most:]

    def monitor(self, what, **args):
        self.qmp.write(json.dumps({"execute": what, "arguments": args}) + "\n")
        self.qmp.flush()
        while True:
            ans = json.loads(self.qmp.readline())
            if "event" not in ans:
                return ans

    @staticmethod
    def sh(cmd, timeout=60):
        try:
            r = subprocess.run(["sh", "-c", cmd], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               stdin=subprocess.DEVNULL, timeout=timeout)
        except subprocess.TimeoutExpired as e:
            return {"rc": 124, "out": (e.output or b"").decode(errors="replace")[-8000:]}
        return {"rc": r.returncode, "out": r.stdout.decode(errors="replace")[-8000:]}

    def _serve(self, q):
        op = q["op"]
        if op == "sh":
            return self.sh(q["cmd"], q["timeout"])
        if op == "start":                               # a command beside the guest's own work
            out = open(os.path.join(self.folder, f"job{len(self.jobs)}"), "w+b")
            p = subprocess.Popen(["sh", "-c", q["cmd"]], stdout=out, stderr=subprocess.STDOUT,
                                 stdin=subprocess.DEVNULL, start_new_session=True)
            self.jobs[len(self.jobs)] = (p, out)
            return {"job": len(self.jobs) - 1}
        if op == "wait":
            p, out = self.jobs[q["job"]]
            try:
                p.wait(q["timeout"])
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, 9)
                p.wait()
            out.seek(0)
            return {"rc": p.returncode, "out": out.read().decode(errors="replace")[-8000:]}
        if op == "monitor":
            return self.monitor(q["what"], **q["args"])
        return {"error": op}

    def run(self, watch=False):
        """Until the guest ends. Yields its TAP lines. watch: LostTimer when that happened."""
        buf = b""
        while time.monotonic() < self.end:
            if not select.select([self.rpc], [], [], 1)[0]:
                if self.proc.poll() is not None:
                    return
                if watch and LOST in self.log():
                    raise LostTimer("a processor of QEMU's has lost its timer")
                continue
            part = self.rpc.recv(65536)
            if not part:
                return
            buf += part
            while b"\n" in buf:
                line, buf = buf.split(b"\n", 1)
                try:
                    q = json.loads(line)
                except ValueError:
                    continue                            # noise of the serial line's start
                if q["op"] == "tap":
                    yield q["line"]
                    continue
                self.rpc.sendall(json.dumps(self._serve(q)).encode() + b"\n")
        raise TimeoutError("the guest did not end in time")

    def close(self):
        for p, _ in self.jobs.values():
            if p.poll() is None:
                os.killpg(p.pid, 9)
        self.proc.kill()
        self.proc.wait()
        self.console.close()
