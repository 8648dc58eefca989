#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/vm/fetch.py - what the virtual machine is made of, from Debian's archive, into build/vm

QEMU (igb needs 10, from bookworm-backports), the full kernel of bookworm-backports (the cloud flavour
lacks 9p, e1000e and igb) and busybox-static. apt runs on lists and a cache of its own: nothing of the
system is changed, packages are only unpacked (dpkg -x). QEMU's libraries that the system lacks, or has
too old, come along. A stamp says what is there; delete build/vm to fetch again.

Exit code 0: all there; 77: cannot be had here, with the reason as the last line.
"""
import ctypes
import fcntl
import glob
import json
import os
import re
import shutil
import subprocess
import sys

from image import image_make

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VM = os.environ.get("STK_VM_DIR", os.path.join(ROOT, "build", "vm"))
SUITE = "bookworm-backports"
STAMP = os.path.join(VM, "fetched.json")
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
KERNEL_MAX = 256 << 20
QEMU_LIBS = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")


class CannotFetch(Exception):
    pass


def debian_sources():
    """The machine's own Debian archives, with the backports suite added, as deb822 text."""
    out = []
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*"))]:
        if not os.path.isfile(path):
            continue
        with open(path, errors="replace") as f:
            text = f.read()
        if path.endswith(".sources"):
            for part in re.split(r"\n\s*\n", text):
                if re.search(r"^Suites:.*\bbookworm(\s|$)", part, re.M):
                    part = re.sub(r"^#.*\n?", "", part, flags=re.M)
                    out.append(re.sub(r"^Suites:.*$", f"Suites: bookworm {SUITE}", part,
                                      flags=re.M).strip())
        for m in re.finditer(r"^deb\s+(\[[^\]]*\]\s+)?(\S+)\s+bookworm\s", text, re.M):
            out.append(f"Types: deb\nURIs: {m[2]}\nSuites: bookworm {SUITE}\nComponents: main\n"
                       "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg")
    if not out:
        raise CannotFetch("no Debian 12 archive among apt's sources")
    return "\n\n".join(dict.fromkeys(out)) + "\n"


def apt_env():
    base = os.path.join(VM, "apt")
    for d in ("parts", "lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(base, d), exist_ok=True)
    with open(os.path.join(base, "parts", "vm.sources"), "w") as f:
        f.write(debian_sources())
    opts = {"Dir::Etc::SourceList": "/dev/null", "Dir::Etc::SourceParts": f"{base}/parts",
            "Dir::State::Lists": f"{base}/lists", "Dir::Cache": f"{base}/cache",
            "APT::Sandbox::User": "root", "Acquire::Retries": "2", "Debug::NoLocking": "1",
            "Acquire::Languages": "none", "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled":
            "false", "APT::Install-Recommends": "false"}
    return [a for k, v in opts.items() for a in ("-o", f"{k}={v}")]


def run(args, what, **kw):
    r = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=1200, **kw)
    if r.returncode:
        raise CannotFetch(f"{what}: {r.stdout.strip().splitlines()[-1] if r.stdout.strip() else '?'}")
    return r.stdout


def download(opts, dest):
    run(["apt-get", *opts, "update"], "the archive cannot be reached")
    kernel = re.search(r"Depends: (linux-image-\d\S+-amd64)",
                       run(["apt-cache", *opts, "depends", f"linux-image-amd64/{SUITE}"],
                           f"no kernel in {SUITE}"))
    if not kernel:
        raise CannotFetch(f"no kernel in {SUITE}")
    os.makedirs(dest, exist_ok=True)
    run(["apt-get", *opts, "download", kernel[1], "busybox-static",
         "seabios", f"qemu-system-data/{SUITE}"], "downloading kernel and busybox", cwd=dest)
    run(["apt-get", *opts, "-y", "--download-only", "--no-remove", "-t", SUITE, "install",
         f"qemu-system-x86/{SUITE}", f"qemu-system-common/{SUITE}"], "downloading QEMU")
    for deb in glob.glob(os.path.join(VM, "apt/cache/archives/*.deb")):
        shutil.copy(deb, dest)
    return kernel[1]


def unpack(debs):
    for deb in sorted(glob.glob(os.path.join(debs, "*.deb"))):
        kind = "kernel" if os.path.basename(deb).startswith("linux-image") else "root"
        run(["dpkg", "-x", deb, os.path.join(VM, kind)], f"unpacking {os.path.basename(deb)}")


def unzstd(data):
    """One zstd frame at the start of @data; None when it is none. By the library that dpkg needs."""
    lib = ctypes.CDLL("libzstd.so.1")
    for fn in (lib.ZSTD_findFrameCompressedSize, lib.ZSTD_decompress):
        fn.restype = ctypes.c_size_t
    size = lib.ZSTD_findFrameCompressedSize(data, ctypes.c_size_t(len(data)))
    if lib.ZSTD_isError(ctypes.c_size_t(size)):
        return None
    out = ctypes.create_string_buffer(KERNEL_MAX)
    n = lib.ZSTD_decompress(out, ctypes.c_size_t(KERNEL_MAX), data, ctypes.c_size_t(size))
    return None if lib.ZSTD_isError(ctypes.c_size_t(n)) else out.raw[:n]


def unpack_kernel(image):
    """The ELF image inside a bzImage: QEMU starts it directly (PVH), in two thirds of the time."""
    with open(image, "rb") as f:
        data = f.read()
    at = data.find(ZSTD_MAGIC)
    while at >= 0:
        elf = unzstd(data[at:])
        if elf and elf[:4] == b"\x7fELF":
            return elf
        at = data.find(ZSTD_MAGIC, at + 1)
    return None


def qemu_command():
    libs = ":".join(os.path.join(VM, "root", d) for d in QEMU_LIBS)
    return ["env", "LD_LIBRARY_PATH=" + libs,
            os.path.join(VM, "root/usr/bin/qemu-system-x86_64"),
            "-L", os.path.join(VM, "root/usr/share/qemu"),
            "-L", os.path.join(VM, "root/usr/share/seabios")]


def fetch():
    debs = os.path.join(VM, "debs")
    shutil.rmtree(debs, ignore_errors=True)
    kernel = download(apt_env(), debs)
    unpack(debs)
    image = glob.glob(os.path.join(VM, "kernel/boot/vmlinuz-*"))
    if not image:
        raise CannotFetch("the kernel package has no image")
    elf = unpack_kernel(image[0])
    path = image[0]
    if elf:
        path = os.path.join(VM, "vmlinux")
        with open(path, "wb") as f:
            f.write(elf)
    version = run([*qemu_command(), "--version"], "QEMU does not start here").splitlines()[0]
    image_make(VM, kernel[len("linux-image-"):])
    with open(STAMP + ".new", "w") as f:
        json.dump({"kernel": os.path.relpath(path, VM), "release": kernel[len("linux-image-"):],
                   "qemu": version}, f)
    os.rename(STAMP + ".new", STAMP)
    for d in (debs, os.path.join(VM, "kernel/usr"), os.path.join(VM, "kernel/lib/modules")):
        shutil.rmtree(d, ignore_errors=True)
    shutil.rmtree(os.path.join(VM, "apt"))


def ensure():
    """What is in build/vm, fetched if need be: a dict with kernel, release, qemu."""
    os.makedirs(VM, exist_ok=True)
    with open(os.path.join(VM, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(STAMP):
            try:
                fetch()
            except (OSError, subprocess.TimeoutExpired) as e:
                raise CannotFetch(str(e)) from e
    with open(STAMP) as f:
        return json.load(f)


if __name__ == "__main__":
    try:
        print(json.dumps(ensure()))
    except CannotFetch as e:
        print(e)
        sys.exit(77)
