#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PHP's built-in server (poll; with worker processes that share the listener), and PHP as a client."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402
import web                                                                    # noqa: E402

ASK = """$c = stream_context_create(['http' => ['timeout' => 10]]);
for ($i = 0; $i < 20; $i++) echo file_get_contents('http://%s/small');
echo hash('sha256', file_get_contents('http://%s/big'));"""


def serve(d, site, addr, on_stack, children=0):
    with open(site.root + "/index.php", "w") as f:
        f.write("<?php http_response_code(404);")
    env = dict(os.environ, **({"PHP_CLI_SERVER_WORKERS": str(children)} if children else {}))
    args = [stk.need("php"), "-S", f"{addr}:80", "-t", site.root]
    p = d.stackrun(args, env=env) if on_stack else d.start(args, env=env)
    stk.wait_port(addr, 80)
    return p


@stk.test({"children": 0}, {"children": 3})
def server(children):
    stk.need("php")
    with stk.stackd(workers=2) as d:
        site = web.Site(d)
        p = serve(d, site, stk.STACK, True, children)
        site.fetch(d, stk.STACK)
        os.killpg(p.pid, stk.signal.SIGINT)     # as a terminal does: the parent waits for its workers
        d.stop(p, stk.signal.SIGINT)
        d.wait_clean()


@stk.test()
def client():
    stk.need("php")
    with stk.stackd() as d:
        site = web.Site(d, 20 << 20)
        serve(d, site, stk.KERNEL, False)
        with stk.through_stackd(d, site.size):
            got = d.run(["php", "-r", ASK % (stk.KERNEL, stk.KERNEL)], on_stack=True)
        stk.check(got == web.SMALL * 20 + site.hash.encode(), f"client: {got[:200]!r}")
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
