# SPDX-License-Identifier: MIT
"""For test_engine_kill.py: reexec.py ADDR PORT: one listener, one connection; each line from it is echoed
with the number of images so far, after "exec" by the next image, which has inherited both."""
import os
import socket
import sys

if len(sys.argv) == 3:
    lst = socket.create_server((sys.argv[1], int(sys.argv[2])))
    con, _ = lst.accept()
    image = 1
else:
    lst, con = (socket.socket(fileno=int(fd)) for fd in sys.argv[3:5])
    image = int(sys.argv[5])
    con.sendall(b"image %d\n" % image)
other, _ = (lst.accept() if image > 1 and "accept" in sys.argv[6:] else (None, None))
if other:
    other.sendall(b"accepted\n")
    other.close()
for line in con.makefile("rb"):
    word = line.decode().split()
    if word[0] == "exec":
        for s in (lst, con):
            s.set_inheritable(True)
        os.execv(sys.executable, [sys.executable, *sys.argv[:3], str(lst.fileno()), str(con.fileno()),
                                  str(image + 1), *word[1:]])
    con.sendall(b"%d " % image + line)
