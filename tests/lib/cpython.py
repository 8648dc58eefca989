# SPDX-License-Identifier: MIT
"""CPython's own test suite (package libpython3.11-testsuite) on stackd: thousands of assertions about sockets,
poll, epoll, asyncio, ssl, HTTP and mail clients that others wrote against the kernel.

The suite talks to itself through "localhost" and 127.0.0.1. Here both mean stackd's address: /etc/hosts is
covered in the file's own mount namespace, the constant is replaced in a copy. A test that fails is run again
on the kernel, with the address on lo: only what the kernel passes counts.
"""
import os
import re
import shutil
import subprocess
import tempfile

import stk

SUITE = "/usr/lib/python3.11/test"
PYTHON = "/usr/bin/python3.11"
# Both ends of one connection in one process, both ready at once: on lo the kernel delivers before send() returns.
NOT_OURS = ("TestEPoll.test_control_and_wait",)
# What stackd does not have yet (docs/FEATURES.md): urgent data, UDP-Lite on its own addresses.
NOT_YET = re.compile(r"test_abort$|^\w*UDPLITE\w*\.")
LINE = re.compile(r"^(?:ERROR|FAIL): (\w+) \(test\.\w+(?:\.test_\w+)*\.(\w+)\.", re.M)


class Suite:
    def __init__(self, folder):
        if not os.path.isdir(os.path.join(SUITE, "support")) or not os.path.exists(PYTHON):
            raise stk.Skip("libpython3.11-testsuite is not installed")
        self.lib = os.path.join(folder, "pylib")
        shutil.copytree(SUITE, os.path.join(self.lib, "test"), ignore=shutil.ignore_patterns("__pycache__"))
        for where, _, names in os.walk(self.lib):
            for name in names:
                if name.endswith(".py"):
                    self._move(os.path.join(where, name))
        hosts = os.path.join(folder, "hosts")
        with open(hosts, "w") as f:
            f.write(f"{stk.STACK} localhost\n")
        subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)

    @staticmethod
    def _move(path):
        with open(path, errors="surrogateescape") as f:
            old = f.read()
        new = old.replace("127.0.0.1", stk.STACK)
        if new != old:
            with open(path, "w", errors="surrogateescape") as f:
                f.write(new)

    def command(self, module, match=()):
        cmd = [PYTHON, "-m", "test", "-v", "-i", "*VSOCK*", module]
        for m in match:
            cmd += ["-m", m]
        return cmd

    def run(self, cmd, limit):
        """Return: (exit code, output)."""
        try:
            p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                               stdin=subprocess.DEVNULL, timeout=limit, env=dict(os.environ, PYTHONPATH=self.lib))
        except subprocess.TimeoutExpired as e:
            raise stk.Failed(f"{cmd[-1]}: hung:\n" + (e.stdout or b"").decode(errors="replace")[-3000:]) from None
        return p.returncode, p.stdout

    def failures(self, code, out):
        names = {f"{cls}.{name}" for name, cls in LINE.findall(out)}
        stk.check(code == 0 or names, f"exit {code}:\n{out[-3000:]}")
        return names

    def on_kernel(self, module, names, limit):
        """Which of these fail on the kernel, too? The address is on lo meanwhile."""
        subprocess.run(["ip", "addr", "add", f"{stk.STACK}/32", "dev", "lo"], check=True)
        try:
            return self.failures(*self.run(self.command(module, ["*." + n for n in names]), limit))
        finally:
            subprocess.run(["ip", "addr", "del", f"{stk.STACK}/32", "dev", "lo"], check=True)


def on_stackd(d, suite, modules, limit):
    """Return: {module: (names of failed tests, output)}."""
    bad = {}
    for m in modules:
        run = [os.path.join(stk.PLAIN, "stackrun"), "--run-dir", d.run_dir, *suite.command(m)]
        code, out = suite.run(run, limit)
        names = {n for n in suite.failures(code, out) if n not in NOT_OURS and not NOT_YET.search(n)}
        if names:
            bad[m] = names, out
        d.wait_clean()
    return bad


def compare(modules, workers, limit=240):
    """Run the modules on stackd; whatever fails there and not on the kernel fails the test."""
    with tempfile.TemporaryDirectory(prefix="stk-") as folder:
        suite = Suite(folder)
        try:
            with stk.stackd(workers=workers) as d:
                bad = on_stackd(d, suite, modules, limit)
            for m, (names, out) in bad.items():
                left = names - suite.on_kernel(m, names, limit)
                stk.check(not left, f"{m}: fail on stackd, not on the kernel: {sorted(left)}\n{out[-6000:]}")
        finally:
            subprocess.run(["umount", "/etc/hosts"], check=True)
