#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stackd drives NICs by vfio-pci in a virtual machine behind an emulated IOMMU.

One boot for all devices; what is tested stands in tests/vm/guest_nic.py, which runs in the guest.
"""
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "lib")]
import fetch                                            # noqa: E402
import stk                                              # noqa: E402
import vm                                               # noqa: E402

LIMIT = 1100                                            # seconds; a loaded machine needs 100 to boot


def attempt(script, again):
    """One boot; the lines are shown when it counts. Return: whether the guest came to its end; None: the
    emulator broke down, and @again says that this boot does not count then."""
    lines, lost = [], False
    with tempfile.TemporaryDirectory() as folder:
        guest = vm.VM(script, folder, LIMIT)
        try:
            for line in guest.run(watch=again):
                lines.append(line)
        except vm.LostTimer as e:
            lost = True
            lines.append(f"not ok vm\n# {e}")
        except Exception as e:
            lines.append(f"not ok vm\n# {e}")
        finally:
            log = "# " + guest.log().replace("\n", "\n# ")
            guest.close()
    if lost and again:
        print(f"# after {len(lines) - 1} lines a processor of QEMU's lost its timer: once more\n{log}")
        return None
    print("\n".join(lines), flush=True)
    if "" not in lines or os.environ.get("VM_LOG"):
        print(log)
    return "" in lines


def main():
    script = os.path.join(HERE, sys.argv[1] if len(sys.argv) > 1 else "guest_nic.py")
    if os.environ.get("STK_NS") != "1":
        try:
            fetch.ensure()                              # outside: the network is needed
        except fetch.CannotFetch as e:
            print(f"QEMU cannot be had here: {e}")
            sys.exit(77)
    stk.enter_namespaces()
    stk.subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    stk.private_tmp()
    ended = attempt(script, again=True)
    if ended is None:
        ended = attempt(script, again=False)
    if not ended:
        print("not ok guest # it did not come to its end")
        sys.exit(1)


main()
