#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""openssl s_server and s_client (select, non-blocking and blocking BIOs), either side on stackd."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402
import web                                                                    # noqa: E402


def s_server(d, site, addr, on_stack):
    prog = stk.need("openssl")
    key, cert = d.dir + "/key.pem", d.dir + "/cert.pem"
    d.run([prog, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
           "-nodes", "-subj", "/CN=stackd", "-keyout", key, "-out", cert])
    args = [prog, "s_server", "-accept", f"{addr}:443", "-key", key, "-cert", cert, "-WWW", "-quiet"]
    p = d.stackrun(args, cwd=site.root) if on_stack else d.start(args, cwd=site.root)
    stk.wait_port(addr, 443)
    return p


def exchange(d, site, addr, on_stack):
    """The big file by s_client and by curl, ten hand-shakes."""
    pre = [os.path.join(stk.PLAIN, "stackrun"), "--run-dir", d.run_dir] if on_stack else []
    cert = d.dir + "/cert.pem"
    client = ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", cert,
              "-connect", f"{addr}:443"]
    with stk.through_stackd(d, 2 * site.size):
        ask = " ".join(["printf 'GET /big HTTP/1.0\\r\\n\\r\\n' |", *pre, *client])
        got = d.run(["sh", "-c", ask + " 2>/dev/null"])
        body = got[got.index(b"\r\n\r\n") + 4:]
        stk.check(stk.hashlib.sha256(body).hexdigest() == site.hash, f"s_client: {len(body)} bytes")
        url = "https://stackd:443/"
        curl = [*pre, "curl", "-sS", "--cacert", cert, "--connect-to", f"stackd:443:{addr}:443"]
        stk.check(stk.hash_of([*curl, url + "big"]) == site.hash, "curl: hash differs")
        for _ in range(10):
            stk.check(d.run([*curl, url + "small"]) == web.SMALL, "small")


@stk.test(*stk.workers(1, 2))
def server(workers):
    """The server on stackd, the clients in the kernel."""
    with stk.stackd(workers=workers) as d:
        site = web.Site(d, 20 << 20)
        p = s_server(d, site, stk.STACK, True)
        exchange(d, site, stk.STACK, False)
        d.stop(p)
        d.wait_clean()


@stk.test()
def client():
    """s_client and curl on stackd, the server in the kernel."""
    with stk.stackd(workers=2) as d:
        site = web.Site(d, 20 << 20)
        s_server(d, site, stk.KERNEL, False)
        exchange(d, site, stk.KERNEL, True)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
