# SPDX-License-Identifier: MIT
"""tests/vm/image.py - the initramfs of the virtual machine

busybox, the modules that are needed, and an init that makes the host's root the guest's: read-only over
9p, with a tmpfs above it, so that programs and libraries of the host run as they are. Then it runs the
Python file that the kernel's command line names, and reboots, which ends QEMU.
"""
import glob
import lzma
import os
import re

MODULES = ["9pnet_virtio", "9p", "overlay", "vfio_pci", "vfio_iommu_type1", "virtio_net", "e1000e", "igb",
           "tun", "veth"]

INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
for m in $($B cat /modules.list); do $B insmod /modules/$m.ko || echo "vm: no module $m"; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro,cache=loose hostroot /lower
$B mount -t tmpfs tmpfs /upper
$B mkdir /upper/data /upper/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root
for d in proc sys dev; do $B mount --move /$d /root/$d; done
$B mkdir -p /root/dev/pts /root/dev/shm
$B mount -t devpts devpts /root/dev/pts
for d in dev/shm run tmp; do $B mount -t tmpfs tmpfs /root/$d; done
for w in $($B cat /root/proc/cmdline); do case $w in run=*) RUN=${w#run=};; esac; done
$B ip link set lo up
$B chroot /root /usr/bin/env -i HOME=/root TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 $RUN
echo "vm: end $?"
$B reboot -f
"""


def cpio_entry(name, mode, data, ino):
    name = name.encode() + b"\0"
    head = "070701" + "".join(f"{v:08x}" for v in (ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0,
                                                     len(name), 0))
    out = head.encode() + name
    out += b"\0" * (-len(out) % 4)
    return out + data + b"\0" * (-len(data) % 4)


def load_modules(folder):
    """name -> file, and the wanted ones with what they depend on, in the order to load."""
    files = {re.sub(r"\.ko.*", "", os.path.basename(p)).replace("-", "_"): p
             for p in glob.glob(folder + "/**/*.ko*", recursive=True)}
    order, content = [], {}

    def add(name):
        if name in content or name not in files:
            return
        with open(files[name], "rb") as f:
            data = f.read()
        content[name] = lzma.decompress(data) if files[name].endswith(".xz") else data
        deps = re.search(rb"\0depends=([^\0]*)\0", content[name])
        for d in deps[1].decode().split(",") if deps and deps[1] else []:
            add(d.replace("-", "_"))
        order.append(name)

    for m in MODULES:
        add(m)
    return order, content


def image_make(vm, release):
    """Write VM/guest.cpio from VM/root and the modules of VM/kernel."""
    order, content = load_modules(f"{vm}/kernel/lib/modules/{release}")
    with open(f"{vm}/root/bin/busybox", "rb") as f:
        busybox = f.read()
    files = [(d, 0o40755, b"") for d in ("bin", "proc", "sys", "dev", "lower", "upper", "root", "modules")]
    files += [("bin/busybox", 0o100755, busybox), ("init", 0o100755, INIT.encode()),
              ("modules.list", 0o100644, "\n".join(order).encode())]
    files += [(f"modules/{m}.ko", 0o100644, content[m]) for m in order]
    files += [("TRAILER!!!", 0, b"")]
    with open(f"{vm}/guest.cpio", "wb") as f:
        for i, (name, mode, data) in enumerate(files):
            f.write(cpio_entry(name, mode, data, i + 1))
