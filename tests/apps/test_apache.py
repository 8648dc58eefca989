#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Apache with its process model (prefork) and its event-driven one; ab as a client on stackd.

A child of the event model whose threads are all busy closes keep-alive connections, also ones whose next
request has arrived (httpd 2.4, event.c: get_worker() that may not wait, then shutdown_connection()); ab
counts each as a failed request. Shown on both stacks with 8 and with 16 threads a child and 20 clients:
failures equal the lines "deferring close from state" of LogLevel mpm_event:trace6, run by run. A thread
counts as busy until it is back in the queue, so one connection can hold two for a moment: a child that can
get all 20 needs more than 40.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402
import web                                                                    # noqa: E402

CONF = """
ServerRoot {d.dir}
ServerName localhost
PidFile {d.dir}/apache.pid
ErrorLog {d.dir}/apache.log
Listen {addr}:80
User nobody
Group nogroup
LoadModule mpm_{mpm}_module {mods}/mod_mpm_{mpm}.so
LoadModule authz_core_module {mods}/mod_authz_core.so
DocumentRoot {site.root}
StartServers 3
MaxKeepAliveRequests 0
Mutex posixsem
EnableSendfile on
<IfModule mpm_event_module>
    ThreadsPerChild 64
    MaxRequestWorkers 192
</IfModule>
"""
MODS = "/usr/lib/apache2/modules"


def apache(d, site, mpm, addr=stk.STACK, on_stack=True):
    prog = stk.need("apache2")
    conf = os.path.join(d.dir, "apache.conf")
    with open(conf, "w") as f:
        f.write(CONF.format(d=d, addr=addr, mpm=mpm, mods=MODS, site=site))
    args = [prog, "-DFOREGROUND", "-f", conf]
    p = d.stackrun(args) if on_stack else d.start(args)
    stk.wait_port(addr, 80)
    return p


def log(d):
    with open(os.path.join(d.dir, "apache.log")) as f:
        return f.read()


@stk.test(*[dict(w, mpm=m) for w in stk.workers(1, 2) for m in ("prefork", "event")])
def server(workers, mpm):
    """curl and ab in the kernel; then a graceful restart, served all the same; then the end."""
    with stk.stackd(workers=workers) as d:
        site = web.Site(d)
        p = apache(d, site, mpm)
        site.fetch(d, stk.STACK)
        web.ab(f"http://{stk.STACK}/small", ["-c20", "-n2000"])
        web.ab(f"http://{stk.STACK}/small", ["-k", "-c20", "-n5000"])
        p.send_signal(stk.signal.SIGUSR1)
        stk.wait_for("graceful restart", lambda: log(d).count("resuming normal operations") > 1)
        site.fetch(d, stk.STACK)
        d.stop(p)
        stk.check("[emerg]" not in log(d) and "Segmentation" not in log(d), log(d))
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def clients(workers):
    """Apache in the kernel; curl and ab on stackd."""
    with stk.stackd(workers=workers) as d:
        site = web.Site(d)
        apache(d, site, "event", stk.KERNEL, False)
        site.fetch(d, stk.KERNEL, True)
        web.ab(f"http://{stk.KERNEL}/small", ["-c20", "-n2000"], d)
        web.ab(f"http://{stk.KERNEL}/small", ["-k", "-c20", "-n5000"], d)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
