# SPDX-License-Identifier: MIT
"""An HTTP server in the kernel: GET serves a file, PUT answers with the SHA-256 of the body."""
import hashlib
import http.server
import sys


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        h = hashlib.sha256()
        if self.headers.get("Expect") == "100-continue":
            pass
        while left:
            part = self.rfile.read(min(left, 1 << 20))
            if not part:
                break
            h.update(part)
            left -= len(part)
        out = h.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)


http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
