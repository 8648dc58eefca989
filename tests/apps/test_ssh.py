#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sshd and ssh. sshd re-executes itself for each connection with the accepted socket as standard
input and output; either side on stackd."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402


def sshd(d, addr, on_stack):
    prog = stk.need("sshd")
    key, user = d.dir + "/host", d.dir + "/id"
    for k in (key, user):
        d.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", k])
    os.makedirs("/run/sshd", exist_ok=True)
    d.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run/sshd"])
    conf = d.dir + "/sshd_config"
    with open(conf, "w") as f:
        f.write(f"ListenAddress {addr}\nPort 2222\nHostKey {key}\nAuthorizedKeysFile {user}.pub\n"
                f"StrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n")
    args = [prog, "-D", "-e", "-f", conf]
    p = d.stackrun(args) if on_stack else d.start(args)
    stk.wait_port(addr, 2222)
    return p


def session(d, addr, on_stack):
    """A command, its exit code, 20 MB each way."""
    src = d.dir + "/src"
    want = stk.make_file(src, 20 << 20)
    ssh = ["ssh", "-F", "none", "-i", d.dir + "/id", "-o", "StrictHostKeyChecking=no",
           "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-p", "2222", f"root@{addr}"]
    pre = [os.path.join(stk.PLAIN, "stackrun"), "--run-dir", d.run_dir] if on_stack else []
    with stk.through_stackd(d, 40 << 20):
        stk.check(d.run([*pre, *ssh, "echo hello; echo $SSH_CONNECTION"]).startswith(b"hello\n192.0.2."),
                  "a command")
        r = stk.subprocess.run([*pre, *ssh, "exit 7"], stdin=stk.subprocess.DEVNULL, timeout=60)
        stk.check(r.returncode == 7, f"exit {r.returncode}")
        stk.check(stk.hash_of([*pre, *ssh, "cat " + src]) == want, "there")
        line = " ".join([*pre, *ssh, "sha256sum", "<", src])
        stk.check(d.run(["sh", "-c", line]).split()[0].decode() == want, "back")


@stk.test()
def server():
    with stk.stackd(workers=2) as d:
        p = sshd(d, stk.STACK, True)
        session(d, stk.STACK, False)
        d.stop(p)
        d.wait_clean()


@stk.test()
def client():
    with stk.stackd() as d:
        sshd(d, stk.KERNEL, False)
        session(d, stk.KERNEL, True)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
