# SPDX-License-Identifier: MIT
"""tests/vm/data.py N - N MiB, no two alike, the same on every machine"""
import random
import sys

block = bytearray(random.Random(5).randbytes(1 << 20))
for i in range(int(sys.argv[1])):
    block[:8] = i.to_bytes(8, "little")
    sys.stdout.buffer.write(block)
