# SPDX-License-Identifier: MIT
"""children.py ADDR PORT: what a program with sockets does with children, each answer on a connection."""
import ctypes
import mmap
import os
import resource
import socket
import subprocess
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)


def line(c):
    got = b""
    while not got.endswith(b"\n"):
        part = c.recv(100)
        if not part:
            break
        got += part
    return got.decode().strip()


def status(st):
    return os.waitstatus_to_exitcode(st)


def system(c):
    return f"{status(os.system('exit 7'))} {status(os.system('kill -9 $$'))}"


def popen(c):
    libc.popen.restype = libc.fdopen.restype = ctypes.c_void_p
    libc.popen.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    libc.fgets.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
    libc.pclose.argtypes = [ctypes.c_void_p]
    libc.fputs.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    buf = ctypes.create_string_buffer(100)
    f = libc.popen(b"echo from popen; exit 5", b"r")
    libc.fgets(buf, 100, f)
    st = status(libc.pclose(f))
    g = libc.popen(b"read x; test \"$x\" = hi", b"w")
    libc.fputs(b"hi\n", g)
    return f"{buf.value.decode().strip()} {st} {status(libc.pclose(g))}"


def spawn(c):
    """The child gets the connection as its output by a file action, whatever its flags."""
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "echo from the spawned; exit 4"], os.environ,
                         file_actions=[(os.POSIX_SPAWN_DUP2, c.fileno(), 1),
                                       (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                                       (os.POSIX_SPAWN_CLOSE, c.fileno())],
                         setsigdef=[2], setpgroup=0)
    st = status(os.waitpid(pid, 0)[1])
    try:
        os.posix_spawnp("no-such-program", ["x"], os.environ)
    except FileNotFoundError:
        return f"exit {st}, none"
    return "spawned what does not exist"


def cgi(c):
    """The connection is standard output of a shell with an empty environment."""
    r = subprocess.run(["/bin/sh", "-c", "echo cgi $PATH_INFO; exit 3"], stdout=c.fileno(),
                       env={"PATH_INFO": "/x"})
    return f"exit {r.returncode}"


def closes(c, srv):
    """All fds but the two in a loop, then in a range; dup2 onto what may be the shim's."""
    keep = {0, 1, 2, c.fileno(), srv.fileno()}
    for fd in range(3, 5000):
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass
    libc.closefrom(max(keep) + 1)
    lim = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    for fd in [*range(lim - 200, lim), *range(100, 140)]:
        os.dup2(2, fd)
    return "closed all"


def limit(c):
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return "limit 32"


def space(c):
    """In a child: 400 MB of addresses, and the connection works on; what was set is what is read."""
    pid = os.fork()
    if not pid:
        mine = 400 << 20
        resource.setrlimit(resource.RLIMIT_AS, (mine, mine))
        try:
            mmap.mmap(-1, 1 << 30)
            got = "mapped what is beyond"
        except OSError:
            got = "within"
        room = len(mmap.mmap(-1, 64 << 20)) >> 20
        c.sendall(f"{got} {room} {resource.getrlimit(resource.RLIMIT_AS) == (mine, mine)}, ".encode())
        os._exit(0)
    return f"exit {status(os.waitpid(pid, 0)[1])}"


def lower(c):
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    return "hard limit 64"


def threads(c):
    """Children of one thread while others send and make sockets."""
    stop = []

    def busy():
        while not stop:
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            s.close()
    ts = [threading.Thread(target=busy) for _ in range(3)]
    for t in ts:
        t.start()
    bad = 0
    for _ in range(20):
        pid = os.fork()
        if not pid:
            s = socket.socket()
            s.close()
            os._exit(0)
        bad += status(os.waitpid(pid, 0)[1])
    stop.append(1)
    for t in ts:
        t.join()
    return f"bad {bad}"


def cloned(c):
    """Children by the system call's number, and by libc's clone() on a stack of its own."""
    pid = libc.syscall(56, 17 | 0x08000000, 0, 0, 0, 0)         # SYS_clone, SIGCHLD | CLONE_NEWIPC
    if not pid:
        c.sendall(b"by number, ")
        c.close()
        os._exit(6)
    sts = [status(os.waitpid(pid, 0)[1])]
    stack = mmap.mmap(-1, 1 << 20)
    top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + (1 << 20)

    def entry(arg):
        c.sendall(b"by name %d, " % arg)
        os._exit(8)
    fn = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_long)(entry)
    libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_long]
    pid = libc.clone(ctypes.cast(fn, ctypes.c_void_p), top, 17, 42)
    sts.append(status(os.waitpid(pid, 0)[1]))
    return f"exits {sts}"


def terminal(c):
    """A child on a terminal of its own, with the connection."""
    pid, tty = os.forkpty()
    if not pid:
        c.sendall(f"tty {os.isatty(0)} ".encode())
        os._exit(3)
    st = status(os.waitpid(pid, 0)[1])
    os.close(tty)
    return f"exit {st}"


def drop(c):
    """Another root, another user, no privileges."""
    os.chroot("/var/empty" if os.path.isdir("/var/empty") else "/tmp")
    os.chdir("/")
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    pid = os.fork()
    if not pid:
        c.sendall(b"child ")
        os._exit(0)
    return f"{status(os.waitpid(pid, 0)[1])} uid {os.getuid()}"


def daemon(c):
    me = os.getpid()
    if libc.daemon(0, 1):
        return "failed"
    return f"another {os.getpid() != me} in {os.getcwd()}"


def left_at_fork(c, srv):
    """The parent closes right after fork and leaves; the child carries on with both."""
    if os.fork():
        c.close()
        srv.close()
        os._exit(0)
    time.sleep(0.2)
    return "child"


def main(addr, port):
    srv = socket.socket()
    srv.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    srv.bind((addr, port))
    srv.listen(8)
    srv.set_inheritable(True)
    print("listening", flush=True)
    c, _ = srv.accept()
    while True:
        what = line(c)
        if not what:
            break
        if what == "inherit":
            c.set_inheritable(True)
            c.sendall(b"ok\n")
            continue
        if what == "next":
            c.sendall(b"ok\n")
            c.close()
            c, _ = srv.accept()
            continue
        fn = globals()[what]
        got = fn(c, srv) if what in ("closes", "left_at_fork") else fn(c)
        c.sendall((got + "\n").encode())


main(sys.argv[1], int(sys.argv[2]))
