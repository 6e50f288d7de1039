"""Clients that push and pull through an address until they are told to stop, and count.

    load.py ADDRESS SECONDS_MAX PULLERS PUSHERS        LOAD_LOGIN=user:password where that is needed

A client gives up where Docker's engine does, and not before: a blob is begun anew up to four times,
in either direction; a manifest is asked for and pushed once. Ends on SIGTERM, after the operation
that each client is in, and prints one line of JSON.
"""

import base64
import hashlib
import http.client
import json
import os
import signal
import sys
import threading
import time

ATTEMPTS = 5
# Docker waits five seconds more before each attempt. So does nobody here: what fails, fails sooner.
WAIT = 1.0
MANIFEST = "application/vnd.oci.image.manifest.v1+json"

address, seconds_max, pullers, pushers = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
login = os.environ.get("LOAD_LOGIN")
credentials = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
lock = threading.Lock()
counts = {"pulls": 0, "pushes": 0, "failed_pulls": 0, "failed_pushes": 0, "begun_anew": 0}
failures = []


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Refused(Exception):
    pass


class Client:
    def __init__(self):
        self.connection = http.client.HTTPConnection(address, timeout=60)

    def ask(self, expected, method, path, body=None, headers=None):
        """Over a connection that stays. That the proxy closed one between two requests is no failure of
        anybody's, and every client asks again."""
        for last in (False, True):
            fresh = self.connection.sock is None
            try:
                self.connection.request(method, path, body=body, headers={**credentials, **(headers or {})})
                answer = self.connection.getresponse()
                content = answer.read()
                break
            except (http.client.HTTPException, OSError) as error:
                self.connection.close()
                if fresh or last:
                    raise Refused(f"{method} {path}: {error!r}") from error
        if answer.status != expected:
            raise Refused(f"{method} {path}: {answer.status} {content[:200]!r}")
        return answer, content

    def anew(self, work):
        for attempt in range(ATTEMPTS):
            try:
                return work()
            except Refused as error:
                self.connection.close()
                if attempt == ATTEMPTS - 1:
                    raise
                with lock:
                    counts["begun_anew"] += 1
                    failures.append("begun anew: " + str(error))
                time.sleep(WAIT)

    def push_blob(self, repository, content):
        answer, _ = self.ask(202, "POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
        # As Docker does: one chunk of a length that it does not name, then an empty PUT.
        pieces = [content[at : at + 262144] for at in range(0, len(content), 262144)]
        answer, _ = self.ask(202, "PATCH", path_of(answer), pieces)
        place = path_of(answer)
        place += ("&" if "?" in place else "?") + "digest=" + digest_of(content)
        self.ask(201, "PUT", place, headers={"Content-Length": "0"})

    def push(self, repository, tag):
        layer, config = os.urandom(2_000_000), b'{"of":"%s"}' % os.urandom(16).hex().encode()
        for blob in (layer, config):
            self.anew(lambda blob=blob: self.push_blob(repository, blob))
        manifest = json.dumps({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of(layer), "size": len(layer)}],
        }).encode()
        self.ask(201, "PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": MANIFEST})

    def pull(self, repository, tag):
        _, manifest = self.ask(200, "GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST})
        manifest = json.loads(manifest)
        for blob in [manifest["config"], *manifest["layers"]]:
            self.anew(lambda blob=blob: self.pull_blob(repository, blob["digest"]))

    def pull_blob(self, repository, digest):
        _, content = self.ask(200, "GET", f"/v2/{repository}/blobs/{digest}")
        if digest_of(content) != digest:
            raise Refused(f"{digest}: other bytes")


def path_of(answer):
    place = answer.headers["Location"]
    return place if place.startswith("/") else "/" + place.split("/", 3)[3]


def repeat(kind, work):
    while not stop.is_set():
        try:
            work()
            with lock:
                counts[kind] += 1
        except Refused as error:
            with lock:
                counts["failed_" + kind] += 1
                failures.append(kind + ": " + str(error))


def puller(number):
    client = Client()
    repeat("pulls", lambda: client.pull("load/pulled", "v1"))


def pusher(number):
    client, turn = Client(), iter(range(1_000_000))
    repeat("pushes", lambda: client.push(f"load/pushed-{number}", f"v{next(turn) % 3}"))


Client().push("load/pulled", "v1")
threads = [threading.Thread(target=puller, args=(number,)) for number in range(pullers)]
threads += [threading.Thread(target=pusher, args=(number,)) for number in range(pushers)]
for thread in threads:
    thread.start()
print("under load", file=sys.stderr, flush=True)
stop.wait(seconds_max)
stop.set()
for thread in threads:
    thread.join()
for failure in failures:
    print(failure, file=sys.stderr)
print(json.dumps(counts), flush=True)
