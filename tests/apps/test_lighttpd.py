#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lighttpd (one process, epoll, writev and sendfile) on stackd."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402
import web                                                                    # noqa: E402

CONF = """
server.document-root = "{site.root}"
server.bind = "{addr}"
server.port = 80
server.errorlog = "{d.dir}/lighttpd.log"
server.max-worker = {workers}
"""


@stk.test({"workers": 0}, {"workers": 2})
def server(workers):
    """curl and wrk in the kernel; alone and with two worker processes."""
    prog = stk.need("lighttpd")
    with stk.stackd(workers=max(workers, 1)) as d:
        site = web.Site(d)
        conf = os.path.join(d.dir, "lighttpd.conf")
        with open(conf, "w") as f:
            f.write(CONF.format(d=d, addr=stk.STACK, site=site, workers=workers))
        p = d.stackrun([prog, "-D", "-f", conf])
        stk.wait_port(stk.STACK, 80)
        site.fetch(d, stk.STACK)
        web.wrk(f"http://{stk.STACK}/small")
        d.stop(p)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
