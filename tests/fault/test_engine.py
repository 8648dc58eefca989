#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The daemon's own life: engine killed, programs killed, nothing leaks, idle, start and stop."""
import os
import signal
import socket
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
        base, base_maps = now(), maps(eng)
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


@stk.test()
def confined():
    """The engine has another user, no capability, a filter; the supervisor keeps five capabilities."""
    with stk.stackd() as d:
        def status(pid):
            with open(f"/proc/{pid}/status") as f:
                return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        e, s = status(engine_pid(d)), status(d.proc.pid)
        stk.check("0" not in e["Uid"].split() and "65534" not in e["Uid"].split(), e["Uid"])
        stk.check(int(e["CapEff"], 16) == 0 and int(e["CapBnd"], 16) == 0, e["CapEff"])
        stk.check(e["NoNewPrivs"].strip() == "1" and e["Seccomp"].strip() == "2", str(e))
        stk.check(bin(int(s["CapEff"], 16)).count("1") <= 5, s["CapEff"])
        for fd in os.listdir(f"/proc/{engine_pid(d)}/fd"):
            to = os.readlink(f"/proc/{engine_pid(d)}/fd/{fd}")
            stk.check(not to.startswith("/") or to.startswith(("/dev/net/tun", "/dev/null", "/memfd:", d.dir)) or
                      to == "/proc/loadavg", f"the engine holds {to}")


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
