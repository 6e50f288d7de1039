"""A client that behaves well: it pulls a manifest and a blob, and pushes a small blob and one of 2 MiB."""

import base64
import hashlib
import http.client
import os
import time

USER, PASSWORD, REPOSITORY = "alice", "the password of alice", "load/abuse"
# A request that takes longer has failed, in seconds.
PATIENCE = 30


class Client:
    def __init__(self, address):
        self.address = address
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.login = {"authorization": f"Basic {login}"}

    def ask(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {**self.login, **dict(headers)})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def push(self, content):
        path = f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest(content)}"
        return self.ask("POST", path, content, {"content-type": "application/octet-stream"})

    def prepare(self):
        """What it pulls. Returns the digest of a blob of 2 MiB."""
        blob = os.urandom(2 << 20)
        assert self.push(blob)[0] == 201
        manifest = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
        kind = {"content-type": "application/vnd.oci.image.index.v1+json"}
        assert self.ask("PUT", f"/v2/{REPOSITORY}/manifests/v1", manifest, kind)[0] == 201
        return digest(blob)

    def work(self, blob, seconds):
        """Seconds of each request, and how many of them failed."""
        took, failed, end = [], 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for what, expected in (
                (lambda: self.ask("GET", f"/v2/{REPOSITORY}/manifests/v1"), 200),
                (lambda: self.ask("GET", f"/v2/{REPOSITORY}/blobs/{blob}"), 200),
                (lambda: self.push(os.urandom(10)), 201),
                (lambda: self.push(os.urandom(2 << 20)), 201),
            ):
                begun = time.monotonic()
                try:
                    failed += what()[0] != expected
                except OSError:
                    failed += 1
                except http.client.HTTPException:
                    failed += 1
                took.append(time.monotonic() - begun)
        return took, failed


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()
