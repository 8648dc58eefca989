# SPDX-License-Identifier: MIT
"""Says what select, poll and epoll tell of a socket in each of its situations.

Run with the address and port of a readiness_peer and an own address; run on stackd and on the kernel,
it must print the same lines. Each step first waits for what must come, then prints all there is.
"""
import errno
import os
import select
import signal
import socket
import struct
import sys

PEER, PORT, OWN = sys.argv[1], int(sys.argv[2]), sys.argv[3]
HANG = 10
ALL = (select.POLLIN | select.POLLPRI | select.POLLOUT | select.POLLRDHUP | select.POLLRDNORM |
       select.POLLWRNORM)
NAMES = [(getattr(select, "POLL" + n), n) for n in
         ("IN", "PRI", "OUT", "ERR", "HUP", "NVAL", "RDHUP", "RDNORM", "WRNORM")]
ET = select.EPOLLET | ALL


def names(bits):
    return "|".join(n for b, n in NAMES if bits & b) or "-"


def tell(ctl, what):
    ctl.sendall(what)


def await_bits(s, bits):
    p = select.poll()
    p.register(s, bits)
    if not p.poll(HANG * 1000):
        sys.exit(f"no {names(bits)} within {HANG} s")


def say(what, s):
    """One line: poll, an epoll set made now, select."""
    p = select.poll()
    p.register(s, ALL)
    got = p.poll(0)
    e = select.epoll()
    e.register(s, ALL)
    egot = e.poll(0)
    e.close()
    r, w, x = select.select([s], [s], [s], 0)
    print(f"{what}: poll {names(got[0][1] if got else 0)} epoll {names(egot[0][1] if egot else 0)} "
          f"select {len(r)}{len(w)}{len(x)}", flush=True)


def connect(data):
    """A non-blocking connection to the peer, which then does what @data says."""
    s = socket.socket()
    s.setblocking(False)
    try:
        s.connect((PEER, PORT))
    except BlockingIOError:
        pass
    await_bits(s, select.POLLOUT)
    s.send(data)
    return s


def states():
    s = socket.socket()
    say("fresh", s)
    s.close()

    s = connect(b"k")
    say("connected", s)
    s.send(b"s")
    await_bits(s, select.POLLIN)
    say("data", s)
    s.recv(100)
    say("data read", s)
    s.send(b"f")
    await_bits(s, select.POLLRDHUP)
    say("FIN", s)
    s.shutdown(socket.SHUT_WR)
    await_bits(s, select.POLLHUP)
    say("FIN and SHUT_WR", s)
    s.close()

    s = connect(b"k")
    s.shutdown(socket.SHUT_RD)
    s.shutdown(socket.SHUT_WR)
    await_bits(s, select.POLLHUP)
    say("both shut", s)
    s.close()

    s = connect(b"r")
    await_bits(s, 0)
    say("RST", s)
    print("SO_ERROR", errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
    say("RST, error taken", s)
    s.close()

    s = socket.socket()
    s.setblocking(False)
    print("connect", errno.errorcode.get(s.connect_ex((PEER, 9))))
    await_bits(s, 0)
    say("refused", s)
    print("SO_ERROR", errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
    s.close()

    s = connect(b"k")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 4)
    s.send(b"s")
    s.send(b"s")
    await_bits(s, select.POLLIN)
    say("two threes for a low-water mark of four", s)
    s.close()


def full():
    """A send buffer fills, then drains: an edge for who waits for it, in a set and in a blocked send."""
    s = connect(b"w")
    e = select.epoll()
    e.register(s, ET)
    e.poll(0)
    p = select.poll()
    p.register(s, select.POLLOUT)
    sent = 0
    while p.poll(500):                      # what leaves meanwhile makes room again
        try:
            while True:
                sent += s.send(bytes(65536))
        except BlockingIOError:
            pass
    e.poll(0)
    say("full", s)
    print("edges while full", len([1 for _, b in e.poll(0) if b & select.POLLOUT]))
    tell(ctl, b"d")
    print("an edge when drained", [names(b) for _, b in e.poll(HANG)])
    await_bits(s, select.POLLOUT)
    say("drained", s)
    s.setblocking(True)
    s.settimeout(None)
    s.sendall(bytes(4 * sent))
    print("blocked send done")
    s.close()


def listener():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((OWN, 0))
    s.listen()
    say("listener", s)
    e = select.epoll()
    e.register(s, select.EPOLLIN)
    tell(ctl, b"c" + struct.pack("!H", s.getsockname()[1]))
    print("connection", [names(b) for _, b in e.poll(HANG)])
    say("listener with a connection", s)
    c, _ = s.accept()
    print("accepted", e.poll(0))
    c.close()
    e.close()
    s.close()


def triggers():
    s = connect(b"k")
    r, w = os.pipe()
    e = select.epoll()
    e.register(s, select.EPOLLIN | select.EPOLLET)
    e.register(r, select.EPOLLIN)
    print("idle", e.poll(0))
    for _ in range(3):
        s.send(b"s")
        print("edge", [names(b) for _, b in e.poll(HANG)], e.poll(0))
    e.modify(s, select.EPOLLIN | select.EPOLLONESHOT)
    print("one shot", [names(b) for _, b in e.poll(HANG)], e.poll(0))
    e.modify(s, select.EPOLLIN)
    os.write(w, b"x")
    got = set()
    while len(got) < 2:
        got |= {fd for fd, _ in e.poll(HANG)}
    print("pipe and socket", got == {s.fileno(), r})
    p = select.poll()
    p.register(e, select.POLLIN)
    outer = select.epoll()
    outer.register(e, select.EPOLLIN)
    print("set in poll, select, epoll", len(p.poll(0)), len(select.select([e], [], [], 0)[0]),
          len(outer.poll(0)))
    s.recv(100)
    os.read(r, 1)
    e.poll(0)
    print("all read", len(p.poll(0)), len(select.select([e], [], [], 0)[0]), len(outer.poll(0)))
    s.send(b"s")
    print("data again", len(outer.poll(HANG)), len(p.poll(HANG * 1000)))
    d = s.dup()
    s.close()
    print("dup'ed and closed", len(e.poll(HANG)))
    d.close()
    print("closed", len(e.poll(0)))


def blocked(s):
    signal.signal(signal.SIGALRM, lambda *_: print("handler"))
    s.setblocking(True)
    for restart in (False, True):
        signal.siginterrupt(signal.SIGALRM, not restart)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        s.send(b"l")                       # the peer answers after a while
        print("recv", s.recv(3))
    s.settimeout(0.05)
    try:
        s.recv(1)
    except TimeoutError:
        print("timed out")


def child():
    """A child uses a set that it inherited; the parent's is as it was."""
    s = connect(b"k")
    e = select.epoll()
    e.register(s, select.EPOLLIN)
    s.send(b"s")
    await_bits(s, select.POLLIN)
    pid = os.fork()
    if pid == 0:
        os._exit(len(e.poll(HANG)) != 1)
    print("child", os.waitpid(pid, 0)[1])
    print("parent", [names(b) for _, b in e.poll(HANG)])
    pid = os.fork()
    if pid == 0:
        e.close()
        s.close()
        os._exit(0)
    os.waitpid(pid, 0)
    print("parent again", [names(b) for _, b in e.poll(HANG)])
    s.recv(3)
    s.send(b"s")
    print("and again", [names(b) for _, b in e.poll(HANG)])


ctl = socket.create_connection((PEER, PORT))
tell(ctl, b"k")
states()
full()
listener()
triggers()
blocked(connect(b"k"))
child()
