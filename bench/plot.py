#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench/plot.py RESULT.json OUT.svg - rates beside the kernel's, and where the CPU time goes."""
import json
import sys

import matplotlib
matplotlib.use("svg")
import matplotlib.pyplot as plt                                               # noqa: E402

PARTS = (("program", "#4c78a8"), ("engine", "#f58518"), ("load", "#bbbbbb"))


def rates(ax, cases):
    """A bar per case: how many times better stackd is, with the rounds' spread."""
    for i, (name, c) in enumerate(cases.items()):
        k = c["median"]["kernel"]["rate"]
        each = sorted(k / x["rate"] if c["less_is_better"] else x["rate"] / k
                      for x in c["rounds"]["stackd"])
        s = c["median"]["stackd"]["rate"]
        gain = k / s if c["less_is_better"] else s / k
        ax.barh(i, gain, color="#54a24b" if gain >= 1 else "#e45756")
        ax.plot([each[0], each[-1]], [i, i], color="black")
    ax.axvline(1, color="black", linewidth=.8)
    ax.set_yticks(range(len(cases)), list(cases))
    ax.invert_yaxis()
    ax.set_xlabel("stackd / kernel (round trips: kernel / stackd); more is better")


def cpu(ax, cases):
    """Two bars per case, all scaled so that the kernel's whole is 1."""
    for i, c in enumerate(cases.values()):
        whole = c["median"]["kernel"]["all"]
        for side, y in (("kernel", i - .2), ("stackd", i + .2)):
            left = 0
            for part, color in PARTS:
                width = c["median"][side][part] / whole
                first = i == 0 and side == "kernel"
                ax.barh(y, width, .36, left=left, color=color, label=part if first else None)
                left += width
            ax.text(left, y, " " + side, va="center", fontsize=7)
    ax.set_yticks(range(len(cases)), list(cases))
    ax.invert_yaxis()
    ax.set_xlabel("CPU time per operation; the kernel's whole = 1; less is better")
    ax.legend(fontsize=7)


def main(src, dst):
    with open(src) as f:
        result = json.load(f)
    fig, axes = plt.subplots(1, 2, figsize=(13, .5 * len(result["cases"]) + 1.5))
    rates(axes[0], result["cases"])
    cpu(axes[1], result["cases"])
    cc = result["congestion_control"]
    fig.suptitle(f"stackd (TAP, {cc['stackd']}) beside Linux {result['kernel']} (veth, {cc['kernel']}), "
                 f"medians of {result['rounds']} rounds", fontsize=9)
    fig.tight_layout()
    fig.savefig(dst)


main(*sys.argv[1:])
