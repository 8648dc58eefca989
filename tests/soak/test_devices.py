#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every program test, and kill -9 of the engine, on packet sockets and on AF_XDP instead of a TAP."""
import glob
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OWN = ("test_devices.py", "test_packet.py", "test_shared.py")

bad = 0
files = [f for f in sorted(glob.glob(os.path.join(ROOT, "tests/apps/test_*.py")))
         if os.path.basename(f) not in OWN]
files.append(os.path.join(ROOT, "tests/fault/test_engine_kill.py"))
for dev in ("packet", "xdp"):
    for f in files:
        name = f"{os.path.basename(f)[5:-3]}[dev={dev}]"
        p = subprocess.run([sys.executable, f], env=dict(os.environ, STK_DEV=dev), timeout=1200,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = [x for x in p.stdout.splitlines() if x.startswith(("ok ", "not ok "))]
        failed = [x for x in lines if x.startswith("not ok ")]
        if p.returncode == 77:
            print(f"ok {name} # SKIP {p.stdout.strip()[-80:]}", flush=True)
        elif failed or p.returncode or not lines:
            bad += 1
            print(f"not ok {name}\n# " + p.stdout[-6000:].replace("\n", "\n# "), flush=True)
        else:
            print(f"ok {name} # {len(lines)} tests", flush=True)
sys.exit(1 if bad else 0)
