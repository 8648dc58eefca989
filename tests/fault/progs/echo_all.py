# SPDX-License-Identifier: MIT
"""For test_engine_kill.py: TCP and UDP echo on port 7 by asyncio, a bound socket, a fresh one.
Reads words from stdin: "names" checks what getsockname() says, "use" uses the sockets."""
import asyncio
import hashlib
import socket
import sys

ADDR = "192.0.2.2"


async def tcp(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def sink(reader, writer):
    h = hashlib.sha256()
    while data := await reader.read(65536):
        h.update(data)
    writer.write(h.hexdigest().encode())
    await writer.drain()
    writer.close()


class Udp(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


def use(bound, fresh):
    """The bound one listens, the fresh one connects to a kernel listener, if there is one; here: to
    nothing, which must be refused, not hang."""
    bound.listen(5)
    fresh.settimeout(10)
    try:
        fresh.connect(("192.0.2.1", 9))
    except ConnectionRefusedError:
        return "ok"
    return "connected?"


async def main():
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(tcp, ADDR, 7, backlog=100)
    sinks = await asyncio.start_server(sink, ADDR, 9)
    await loop.create_datagram_endpoint(Udp, local_addr=(ADDR, 7))
    bound, fresh = socket.socket(), socket.socket()
    bound.bind((ADDR, 0))
    name = bound.getsockname()
    print("ready", flush=True)
    while word := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        if word == "names":
            print("ok" if bound.getsockname() == name else "changed", flush=True)
        else:
            print(use(bound, fresh), flush=True)
    server.close()
    sinks.close()


asyncio.run(main())
