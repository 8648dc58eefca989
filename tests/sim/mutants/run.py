#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/sim/mutants/run.py [NAME...] - plant each bug of table.py and see that the simulator finds it.

A mutant is a copy of one source with one place replaced, compiled and linked before the library
(Makefile: $(B)/mutants/%/sim). It is caught when a seed of the first 10,000 fails with its replay line.
"""
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, HERE)
from table import MUTANTS, SAMPLE                                             # noqa: E402

SEEDS = 10000
LIMIT_S = 900


def plant(name, file, old, new):
    """Return: what is wrong with the table, or None."""
    text = open(os.path.join(ROOT, "stackd", file), encoding="utf-8").read()
    if text.count(old) != 1:
        return f"stackd/{file} has {text.count(old)} places to change, not one"
    folder = os.path.join(ROOT, "build", "mutants", name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "mutant.c"), "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))
    r = subprocess.run(["make", "-s", f"build/mutants/{name}/sim"], cwd=ROOT, capture_output=True,
                       text=True, timeout=LIMIT_S)
    return None if r.returncode == 0 else "does not build:\n" + r.stdout + r.stderr


def catch(name):
    """Return: (caught, a line about it)."""
    try:
        r = subprocess.run([f"build/mutants/{name}/sim", "-n", str(SEEDS)], cwd=ROOT, timeout=LIMIT_S,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        return False, f"not caught within {LIMIT_S} s"
    replay = re.search(r"^replay: \S+ (\d+)", r.stdout, re.M)
    if r.returncode == 0 or not replay:
        return False, f"not caught by {SEEDS} seeds"
    why = re.search(rf"^seed {replay.group(1)} at [\d.]+ s: (.*)", r.stdout, re.M)
    fault = re.search(r"^.*[Aa]ssert.*", r.stdout, re.M)
    said = why.group(1) if why else fault.group(0) if fault else "no reason given"
    return True, f"seed {replay.group(1)}: {said[:90]}"


def main(names):
    table = {m[0]: m for m in MUTANTS}
    bad = 0
    for n in names or list(table):
        start = time.monotonic()
        wrong = plant(*table[n])
        caught, said = (False, wrong) if wrong else catch(n)
        bad += not caught
        print(f"{'ok' if caught else 'not ok'} - {n}: {said} ({time.monotonic() - start:.1f} s)",
              flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    args = sys.argv[1:]
    unknown = [a for a in args if a != "--sample" and a not in [m[0] for m in MUTANTS]]
    if unknown:
        sys.exit("no mutant " + " ".join(unknown))
    sys.exit(main(SAMPLE if args == ["--sample"] else args))
