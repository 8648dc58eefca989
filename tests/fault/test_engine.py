#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The daemon's own life: engine killed, programs killed, nothing leaks, idle, start and stop."""
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
TAP = f"tap,name=stk0,addr={stk.STACK}/24,peer={stk.KERNEL}/24"


def engine_pid(d):
    """The supervisor's only child."""
    with open(f"/proc/{d.proc.pid}/task/{d.proc.pid}/children") as f:
        pids = f.read().split()
    return int(pids[0]) if pids else 0


def fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def maps(pid):
    with open(f"/proc/{pid}/maps") as f:
        return sum(1 for _ in f)


def server(d):
    p = d.stackrun([PY, "-m", "http.server", "--bind", stk.STACK, "--directory", d.dir, "8000"])
    stk.wait_port(stk.STACK, 8000)
    return p


@stk.test(*stk.workers(1, 2))
def killed_engine(workers):
    """kill -9 of the engine: the next one serves the same program; when that ends nothing is kept."""
    d = stk.Stackd(workers=workers)
    try:
        base = fds(d.proc.pid)
        old = server(d)
        pid = engine_pid(d)
        os.kill(pid, signal.SIGKILL)
        stk.wait_for("another engine", lambda: engine_pid(d) not in (0, pid))
        stk.wait_for("it answers", d._up)
        stk.check(len(d.show("programs")["programs"]) == 1, "the program is not attached any more")
        socket.create_connection((stk.STACK, 8000), stk.HANG).close()
        stk.check(old.poll() is None, "the program died with the engine")
        d.stop(old)
        new = server(d)
        d.stop(new)
        d.wait_clean()
        stk.wait_for("the supervisor keeps nothing", lambda: fds(d.proc.pid) <= base)
        stk.check(d.proc.poll() is None, "the supervisor died")
    finally:
        d.close()


@stk.test(*stk.workers(1, 2))
def programs_come_and_go(workers):
    """Programs that end, are killed, fork: fds and mappings return to what they were."""
    with stk.stackd(workers=workers) as d:
        d.stop(server(d))
        d.wait_clean()
        eng = engine_pid(d)

        def now():
            return (fds(d.proc.pid), fds(eng))
        # the connection of the stackctl that asked last ends a little after it
        base, base_maps = min((now(), time.sleep(0.05))[0] for _ in range(10)), maps(eng)
        for sig in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT) * 3:
            p = server(d)
            c = socket.create_connection((stk.STACK, 8000), stk.HANG)
            p.send_signal(sig)
            p.wait(stk.HANG)
            c.close()
            stk.wait_for("its end was seen", lambda: not d.show("programs")["programs"])
        d.run([PY, write_fork(d)], on_stack=True)
        d.wait_clean()
        stk.wait_for(f"fds back to {base}", lambda: now() == base or None)
        stk.check(maps(eng) <= base_maps + 16, f"mappings: {base_maps} before, {maps(eng)} now")


def write_fork(d):
    path = os.path.join(d.dir, "fork.py")
    with open(path, "w") as f:
        f.write("import os, socket\n"
                "s = socket.socket()\n"
                "for i in range(40):\n"
                "    pid = os.fork()\n"
                "    if pid == 0:\n"
                "        s.fileno(); os._exit(0)\n"
                "    os.waitpid(pid, 0)\n")
    return path


@stk.test(*stk.workers(1, 2))
def idle(workers):
    """With nothing to do, workers sleep: a handful of loops a second, not thousands."""
    with stk.stackd(workers=workers) as d:
        p = server(d)
        before = d.show("workers")["workers"]
        time.sleep(2)
        after = d.show("workers")["workers"]
        for a, b in zip(before, after):
            loops = b["loops"] - a["loops"]
            stk.check(loops < 2000, f"{loops} loops in 2 s of idleness: {a} {b}")
        d.stop(p)


def status(path):
    with open(path) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def harmless_fd(d, path):
    """Is it of the kinds that an engine holds: device, memory, eventfds, rings, log, its channel?"""
    to = os.readlink(path)
    if to.startswith(("anon_inode:", "/memfd:stackd", "socket:", "pipe:", d.dir)) or \
            to == "/proc/loadavg":
        return True
    st = os.stat(path)                  # by number: in a chroot the name is another
    dev = (os.major(st.st_rdev), os.minor(st.st_rdev))
    return stat.S_ISCHR(st.st_mode) and dev in ((1, 3), (10, 200))        # null, tun


@stk.test(*stk.workers(1, 2))
def confined(workers):
    """The engine: another user, no capability in any thread, a filter, no fd too many; the supervisor: six."""
    with stk.stackd(workers=workers) as d:
        e, s = engine_pid(d), status(f"/proc/{d.proc.pid}/status")
        tasks = os.listdir(f"/proc/{e}/task")
        stk.check(len(tasks) >= workers, f"{tasks}")
        for t in tasks:
            st = status(f"/proc/{e}/task/{t}/status")
            for ids in (st["Uid"].split(), st["Gid"].split()):
                stk.check(len(set(ids)) == 1 and ids[0] not in ("0", "65534"), str(ids))
            stk.check(not st["Groups"].split(), st["Groups"])
            for caps in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                stk.check(int(st[caps], 16) == 0, f"{caps} {st[caps]}")
            stk.check(st["NoNewPrivs"].strip() == "1" and st["Seccomp"].strip() == "2", str(st))
        stk.check(bin(int(s["CapEff"], 16)).count("1") <= 6 and s["CapEff"] == s["CapBnd"], str(s))
        stk.check(s["NoNewPrivs"].strip() == "1" and s["Seccomp"].strip() == "2", str(s))
        def socks():
            got = []
            for fd in os.listdir(f"/proc/{e}/fd"):
                with contextlib.suppress(FileNotFoundError):        # closed meanwhile
                    got.append(os.readlink(f"/proc/{e}/fd/{fd}"))
            return [x for x in got if x.startswith("socket:")]
        stk.wait_for("the channel and no other socket", lambda: len(socks()) == 1)
        for path in [f"/proc/{e}/fd/{fd}" for fd in os.listdir(f"/proc/{e}/fd")]:
            stk.check(harmless_fd(d, path), f"the engine holds {os.readlink(path)}")
        for ns in os.listdir(f"/proc/{e}/ns"):
            stk.check(os.readlink(f"/proc/{e}/ns/{ns}") == os.readlink(f"/proc/{d.proc.pid}/ns/{ns}"), ns)
        ours, theirs = (open(f"/proc/{p}/limits").read() for p in (d.proc.pid, e))
        stk.check(ours == theirs, f"limits of the supervisor and the engine:\n{ours}{theirs}")


@stk.test()
def config_file():
    """Settings from a file; a wrong one is named with its line."""
    path = "/tmp/stackd.conf"
    with open(path, "w") as f:
        f.write(f'# comment\nworkers = 2\nnetdev = "{TAP}"\nrun-dir = "/tmp/conf-run"\n')
    cmd = [os.path.join(stk.BUILD, "stackd"), "--config", path]
    p = subprocess.Popen(cmd, stderr=subprocess.PIPE, text=True)
    try:
        stk.check("ready: stk0, 2 workers, /tmp/conf-run" in p.stderr.readline(), "not ready")
    finally:
        p.send_signal(signal.SIGINT)
        stk.check(p.wait(stk.HANG) == 0, "exit code")
    stk.check(not os.path.exists("/tmp/conf-run/stackd.sock"), "socket left behind")
    with open(path, "a") as f:
        f.write("wrokers = 3\n")
    r = subprocess.run(cmd, capture_output=True, text=True, timeout=stk.HANG)
    stk.check(r.returncode == 2 and "wrokers" in r.stderr and "5" in r.stderr, r.stderr)


@stk.test()
def daemonize_and_notify():
    """--daemonize returns when ready; systemd is told; SIGTERM ends both processes."""
    note = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    note.bind("/tmp/notify")
    note.settimeout(stk.HANG)
    r = subprocess.run([os.path.join(stk.BUILD, "stackd"), "--daemonize", "--run-dir", "/tmp/dm",
                        "--netdev", TAP], env=dict(os.environ, NOTIFY_SOCKET="/tmp/notify"),
                       timeout=3 * stk.HANG)
    stk.check(r.returncode == 0, f"exit {r.returncode}")
    stk.check(note.recv(100) == b"READY=1", "not told")
    stk.check(subprocess.run([os.path.join(stk.PLAIN, "stackctl"), "--run-dir", "/tmp/dm", "show",
                              "workers"], timeout=stk.HANG, stdout=subprocess.DEVNULL).returncode == 0,
              "stackctl")
    with open("/tmp/dm/stackd.lock") as f:
        pid = int(f.read())
    os.kill(pid, signal.SIGTERM)
    stk.check(note.recv(100) == b"STOPPING=1", "end not told")
    stk.wait_for("it ends", lambda: not os.path.exists("/sys/class/net/stk0"))


if __name__ == "__main__":
    stk.main()
