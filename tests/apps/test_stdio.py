#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A stackd socket as stdin, stdout and stderr: after dup2(), in what an inetd runs, in bash's /dev/tcp."""
import os
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

SAY = [b"one\ntwo\n", b"three\nfour\n"]     # the second part when told to go on


class Peer:
    """A listener of the kernel's: says its lines to one client and keeps what it hears."""

    def __init__(self):
        self.ls = socket.create_server((stk.KERNEL, 0))
        self.ls.settimeout(stk.HANG)
        self.port = self.ls.getsockname()[1]
        self.heard = b""
        self.thread = threading.Thread(target=self.talk)
        self.thread.start()

    def talk(self):
        with self.ls, self.ls.accept()[0] as s:
            s.settimeout(stk.HANG)
            s.sendall(SAY[0])
            while b"go on\n" not in self.heard:
                self.heard += s.recv(1000)
            s.sendall(SAY[1])
            s.shutdown(socket.SHUT_WR)
            while part := s.recv(1000):
                self.heard += part

    def all(self):
        self.thread.join(stk.HANG * 2)
        return self.heard


def streams(d, on_stack):
    """Return: what the peer heard, what the program said."""
    peer = Peer()
    args = [os.path.join(stk.TESTS, "stdstreams"), stk.KERNEL, str(peer.port)]
    r = subprocess.run(d.on_stack(args) if on_stack else args, input=b"abc\ndef\n",
                       capture_output=True, timeout=stk.HANG * 2)
    return peer.all(), r


@stk.test(*stk.workers(1, 2))
def as_on_the_kernel(workers):
    """Buffered text and input go on in the socket, and back; exec with the socket as 0 and 1."""
    with stk.stackd(workers=workers) as d:
        heard, want = streams(d, False)
        stk.check(b"served to the end\n" in heard and want.returncode == 0, f"{heard} {want}")
        with stk.through_stackd(d, len(heard)):
            ours, got = streams(d, True)
        stk.check(ours == heard, f"kernel {heard}\nstackd {ours}")
        stk.check((got.returncode, got.stdout, got.stderr) == (0, want.stdout, want.stderr), f"{want}\n{got}")
        d.wait_clean()


@stk.test()
def bash():
    """exec 3<>/dev/tcp/...: echo and printf are bash's own stdio, date is another program's."""
    with stk.stackd() as d:
        peer = Peer()
        said = d.run([stk.need("bash"), "-c", f"exec 3<>/dev/tcp/{stk.KERNEL}/{peer.port}\n"
                      "read -u 3 a; read -u 3 b; echo $a >&3; printf '%s\\n' $b >&3; echo shown\n"
                      "echo go on >&3; cat <&3; date -u -d @0 +%Y >&3"], on_stack=True)
        heard = peer.all()
        stk.check(said == b"shown\nthree\nfour\n" and heard == b"one\ntwo\ngo on\n1970\n",
                  f"{said} {heard}")
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
