#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PostgreSQL over TCP, as a user who is not root: psql and pgbench, either side on stackd.

The server forks a process per connection (accept in the parent, the child inherits the socket), waits
with epoll, a latch and signals, and asks TCP_USER_TIMEOUT, keep-alive and peer names of its sockets."""
import glob
import os
import pwd
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

RUN = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
SQL = ("select count(*), sum(length(repeat(g::text, 2000))) from generate_series(1, 3000) g; "
       "select repeat('x', 5000000);")


class Postgres:
    def __init__(self, d, addr, on_stack, wrap=()):
        """@wrap: goes before the server's command (a namespace of its own)."""
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
        if not found:
            raise stk.Skip("postgresql is not installed")
        stk.need("psql")
        self.d, self.addr, self.bin = d, addr, os.path.dirname(found[-1])
        self.data = os.path.join(d.dir, "pg")
        os.mkdir(self.data, 0o700)
        os.chown(self.data, pwd.getpwnam("postgres").pw_uid, pwd.getpwnam("postgres").pw_gid)
        d.run([*RUN, self.bin + "/initdb", "-D", self.data, "-A", "trust", "-N", "--no-instructions"])
        with open(self.data + "/pg_hba.conf", "a") as f:
            f.write("host all all samenet trust\nhost all all 192.0.2.0/24 trust\n")
        args = ["postgres", "-D", self.data, "-k", self.data, "-h", addr, "-c", "fsync=off",
                "-c", "max_connections=80", "-c", "shared_buffers=16MB"]
        args[0] = found[-1]
        if on_stack:
            args = [os.path.join(stk.PLAIN, "stackrun"), "--run-dir", d.run_dir, *args]
        self.p = d.start([*wrap, *RUN, *args], cwd=self.data)
        stk.wait_for("the server accepts", lambda: stk.subprocess.run(
            [self.bin + "/pg_isready", "-q", "-h", addr]).returncode == 0, 30)

    def psql(self, on_stack, *args):
        return self.d.run(["psql", "-h", self.addr, "-U", "postgres", "-AtX", *args], on_stack=on_stack)

    def bench(self, on_stack, *args, timeout=60):
        return self.d.run([self.bin + "/pgbench", "-h", self.addr, "-U", "postgres", "-n", *args,
                           "postgres"], timeout, on_stack).decode()

    def exercise(self, on_stack):
        """Queries small and large, COPY both ways, then pgbench on one connection and on many."""
        with stk.through_stackd(self.d, 18 << 20):
            got = self.psql(on_stack, "-c", SQL)
            stk.check(got == b"3000|21786000\n" + b"x" * 5000000 + b"\n", f"query: {got[:80]!r}")
            rows = os.path.join(self.d.dir, "rows")
            self.psql(on_stack, "-c", "create table t (n int, s text)", "-c",
                      "insert into t select g, repeat('y', 100) from generate_series(1, 50000) g")
            self.psql(on_stack, "-c", f"\\copy t to {rows}", "-c", f"\\copy t from {rows}")
            got = self.psql(on_stack, "-c", "select count(*), sum(n) from t")
            stk.check(got == b"100000|2500050000\n", f"copy: {got!r}")
            self.bench(on_stack, "-i", "-q", "-s", "1")
            for args in (["-c1", "-t200"], ["-c10", "-j2", "-t100"], ["-c8", "-C", "-S", "-t30"],
                         ["-c4", "-M", "prepared", "-S", "-t1000"]):
                out = self.bench(on_stack, *args)
                stk.check("number of failed transactions: 0" in out, out)

    def stop(self):
        self.d.stop(self.p, stk.signal.SIGINT)          # fast shutdown: sessions are ended


@stk.test(*stk.workers(1, 2))
def server(workers):
    """The server on stackd, psql and pgbench in the kernel."""
    with stk.stackd(workers=workers) as d:
        p = Postgres(d, stk.STACK, True)
        p.exercise(False)
        p.stop()
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def client(workers):
    """psql and pgbench on stackd, the server in the kernel."""
    with stk.stackd(workers=workers) as d:
        p = Postgres(d, stk.KERNEL, False)
        p.exercise(True)
        d.wait_clean()
        p.stop()


if __name__ == "__main__":
    stk.main()
