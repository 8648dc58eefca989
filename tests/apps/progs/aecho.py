# SPDX-License-Identifier: MIT
"""An asyncio server: answers each line with its length and SHA-256, echoes after 'ECHO n'."""
import asyncio
import hashlib
import sys


async def serve(reader, writer):
    while True:
        line = await reader.readline()
        if not line:
            break
        if line.startswith(b"ECHO "):
            data = await reader.readexactly(int(line[5:]))
            writer.write(data)
        else:
            writer.write(b"%d %s\n" % (len(line), hashlib.sha256(line).hexdigest().encode()))
        await writer.drain()
    writer.close()


async def main(host, port):
    server = await asyncio.start_server(serve, host, port, limit=1 << 20)
    async with server:
        await server.serve_forever()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
