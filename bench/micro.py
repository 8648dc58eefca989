#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Micro-benchmarks: each part of the data path beside what the machine allows. Medians of alternating
batches, ns. The shim's calls run on a daemon of their own."""
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "lib"))
import stk                                                                    # noqa: E402


def program(name):
    return os.path.join(stk.BUILD, "bench", "micro-" + name)


def measure():
    """Return: the rows of all programs."""
    rows = json.loads(subprocess.run([program("parts")], capture_output=True, check=True,
                                     timeout=120).stdout)
    with stk.stackd() as d:
        rows += json.loads(d.run([program("shim"), stk.STACK], on_stack=True))
        d.wait_clean()
    return rows


def table(rows):
    print("| part | ns | at least | ns | ratio |\n| --- | ---: | --- | ---: | ---: |")
    for r in rows:
        print(f"| {r['part']} | {r['ns']:,.1f} | {r['limit']} | {r['limit_ns']:,.1f} | "
              f"{r['ns'] / r['limit_ns']:.1f} |")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("-o", "--output", help="JSON to this file as well")
    args = ap.parse_args()
    stk.enter_namespaces()
    rows = measure()
    table(rows)
    if args.output:
        with open(args.output, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
