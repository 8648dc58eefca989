#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""haproxy in front of nginx: the proxy on stackd and nginx in the kernel, and the other way round.

A proxy on stackd is server and client at once, with splice() where it likes."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402
import web                                                                    # noqa: E402

HAPROXY = """
global
    maxconn 500
    nbthread 2
defaults
    mode {mode}
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    timeout check 5s
    option splice-auto
listen front
    bind {front}:80
    server a {back}:8080 check inter 200ms
"""
NGINX = """
daemon off;
pid {d.dir}/nginx.pid;
error_log {d.dir}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    keepalive_requests 100000;
    server {{ listen {addr}:8080; root {site.root}; }}
}}
"""


def start(d, on_stack, args):
    return d.stackrun(args) if on_stack else d.start(args)


def nginx(d, site, addr, on_stack):
    conf = os.path.join(d.dir, "nginx.conf")
    with open(conf, "w") as f:
        f.write(NGINX.format(d=d, addr=addr, site=site))
    p = start(d, on_stack, [stk.need("nginx"), "-p", d.dir, "-e", d.dir + "/error.log", "-c", conf])
    stk.wait_port(addr, 8080)
    return p


def haproxy(d, mode, front, back, on_stack):
    conf = os.path.join(d.dir, "haproxy.cfg")
    with open(conf, "w") as f:
        f.write(HAPROXY.format(mode=mode, front=front, back=back))
    p = start(d, on_stack, [stk.need("haproxy"), "-db", "-f", conf])
    stk.wait_port(front, 80)
    return p


@stk.test(*[dict(w, mode=m) for w in stk.workers(1, 2) for m in ("http", "tcp")])
def proxy(workers, mode):
    """haproxy on stackd, both sides of it; nginx, curl and wrk in the kernel."""
    with stk.stackd(workers=workers) as d:
        site = web.Site(d)
        nginx(d, site, stk.KERNEL, False)
        p = haproxy(d, mode, stk.STACK, stk.KERNEL, True)
        site.fetch(d, stk.STACK)
        web.wrk(f"http://{stk.STACK}/small")
        d.stop(p)
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def wrk(workers):
    """nginx in the kernel, wrk on stackd."""
    with stk.stackd(workers=workers) as d:
        site = web.Site(d, 1 << 20)
        nginx(d, site, stk.KERNEL, False)
        web.wrk(f"http://{stk.KERNEL}:8080/small", d)
        d.wait_clean()


@stk.test()
def backend():
    """nginx on stackd behind haproxy in the kernel, with health checks."""
    with stk.stackd(workers=2) as d:
        site = web.Site(d)
        n = nginx(d, site, stk.STACK, True)
        p = haproxy(d, "http", stk.KERNEL, stk.STACK, False)
        site.fetch(d, stk.KERNEL)
        d.stop(p)
        d.stop(n)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
