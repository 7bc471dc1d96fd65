"""A door from this machine's loopback into the cluster's link; standard library only, started as a file.

    forwarder.py LISTEN_PORT HOST PORT

Listens on 127.0.0.1 of the namespace it is started in, then joins the network namespace of PID 1 (the
machine's) and connects every caller from there. So `kubectl`, Helm and the tests need no namespace, and the host
gets no interface, address or route.
"""

import asyncio
import contextlib
import ctypes
import socket
import sys

CLONE_NEWNET = 0x40000000


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def serve(listening: socket.socket, host: str, port: int) -> None:
    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))
        finally:
            there_writer.close()
            writer.close()

    server = await asyncio.start_server(caller, sock=listening)
    async with server:
        await server.serve_forever()


def main(listen_port: int, host: str, port: int) -> None:
    listening = socket.create_server(("127.0.0.1", listen_port))
    with open("/proc/1/ns/net", "rb") as namespace:  # noqa: PTH123 (its descriptor is what matters)
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    asyncio.run(serve(listening, host, port))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
