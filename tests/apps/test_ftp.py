#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""vsftpd: sessions made by clone(), limited address space, chroot, dropped uid, data connections both ways."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

CONF = """listen=YES
listen_address={addr}
anonymous_enable=YES
anon_root={dir}/ftp
secure_chroot_dir={dir}/empty
background=NO
xferlog_enable=NO
"""


@stk.test(*stk.workers(1, 2))
def server(workers):
    """Passive and active transfers with hash; a file that is not there; the connections end with the server."""
    with stk.stackd(workers=workers) as d:
        for sub in ("ftp/pub", "empty"):
            os.makedirs(os.path.join(d.dir, sub))
        want = stk.make_file(d.dir + "/ftp/pub/f", 20 << 20)
        conf = d.dir + "/vsftpd.conf"
        with open(conf, "w") as f:
            f.write(CONF.format(addr=stk.STACK, dir=d.dir))
        p = d.stackrun([stk.need("vsftpd"), conf])
        stk.wait_port(stk.STACK, 21)
        url = f"ftp://{stk.STACK}/pub/"
        with stk.through_stackd(d, 60 << 20):
            for how in (["--ftp-pasv"], ["--ftp-port", stk.KERNEL], []):
                got = stk.hash_of([stk.need("curl"), "-sS", *how, url + "f"])
                stk.check(got == want, f"{how}: {got}")
        stk.check(b" f" in d.run(["curl", "-sS", url]), "listing")
        gone = stk.subprocess.run(["curl", "-sS", url + "none"], capture_output=True, timeout=60)
        stk.check(gone.returncode == 78, f"a file that is not there: {gone}")
        d.stop(p)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
