#!/usr/bin/env python3
"""An HTTP proxy for one loopback registry that holds every request back and writes down which there were.

usage: delaying-proxy.py PORT UPSTREAM_PORT MILLISECONDS [LOG]

Every request is passed on MILLISECONDS later, on a connection of its own to the registry for each connection of the client; nothing
else is changed but a Location that names the registry's own address. LOG gets a line `METHOD PATH STATUS CONNECTION` a request.
As a module: `counted(port, upstream, delay)` runs it in a thread and yields the list.
"""
import asyncio, contextlib, sys, threading


async def head(reader):
    """The lines up to the empty one, or nothing at the end of a connection."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def field(head, name):
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().lower()
    return None


async def body(reader, head, writer):
    """Pass on what follows this head, by its length or its chunks."""
    if field(head, b"transfer-encoding") == b"chunked":
        while True:
            line = await reader.readline()
            writer.write(line)
            size = int(line.split(b";")[0], 16)
            writer.write(await reader.readexactly(size + 2))
            await writer.drain()
            if not size:
                return
    left = int(field(head, b"content-length") or 0)
    while left:
        data = await reader.read(min(left, 1 << 16))
        if not data:
            raise ConnectionError("broken off")
        left -= len(data)
        writer.write(data)
        await writer.drain()


async def serve(port, upstream, delay, said, ready=None):
    connections = 0

    async def one(client_in, client_out):
        nonlocal connections
        connections += 1
        mine = connections
        try:
            server_in, server_out = await asyncio.open_connection("127.0.0.1", upstream)
        except OSError:
            return client_out.close()
        try:
            while request := await head(client_in):
                method, path = request.split(b" ", 2)[:2]
                if delay:
                    await asyncio.sleep(delay)
                server_out.write(request)
                await body(client_in, request, server_out)
                answer = await head(server_in)
                if not answer:
                    break
                status = int(answer.split(b" ", 2)[1])
                said((method.decode(), path.decode(), status, mine))
                client_out.write(answer.replace(b"//127.0.0.1:%d/" % upstream, b"//127.0.0.1:%d/" % port))
                if method != b"HEAD" and status not in (204, 304):
                    await body(server_in, answer, client_out)
                await client_out.drain()
                if b"close" in (field(answer, b"connection"), field(request, b"connection")):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            client_out.close()
            server_out.close()

    server = await asyncio.start_server(one, "127.0.0.1", port, limit=1 << 20)
    if ready:
        ready()
    async with server:
        await server.serve_forever()


@contextlib.contextmanager
def counted(port, upstream, delay):
    """Serve until the end of the block; the list of requests so far."""
    seen, up, loop = [], threading.Event(), asyncio.new_event_loop()
    task = loop.create_task(serve(port, upstream, delay, seen.append, up.set))

    def run():
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    up.wait(5)
    try:
        yield seen
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(5)


def main():
    port, upstream, delay = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000
    log = open(sys.argv[4], "a", buffering=1) if len(sys.argv) > 4 else sys.stdout
    asyncio.run(serve(port, upstream, delay, lambda r: print(*r, file=log, flush=True)))


if __name__ == "__main__":
    main()
