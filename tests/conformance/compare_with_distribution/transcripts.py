"""The same requests to two registries, and what differs in their answers.

    transcripts.py THEIRS OURS TABLE

THEIRS is Docker's registry 2.8, OURS is Longshore in mode docker-legacy; both are host:port. TABLE is
the Markdown page that explains differences: each row of its table begins with a pattern of steps and
the two answers. A difference without a row fails the run, and so does a row without a difference.
"""

import fnmatch
import hashlib
import http.client
import json
import pathlib
import re
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "integration/fixtures/schema1"
S1 = "application/vnd.docker.distribution.manifest.v1+json"
S1P = "application/vnd.docker.distribution.manifest.v1+prettyjws"
S2 = "application/vnd.docker.distribution.manifest.v2+json"
ML = "application/vnd.docker.distribution.manifest.list.v2+json"
OM = "application/vnd.oci.image.manifest.v1+json"
OI = "application/vnd.oci.image.index.v1+json"
CODES = {S1: "S1", S1P: "S1P", S2: "S2", ML: "ML", OM: "OM", OI: "OI"}
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
EMPTY_LAYER = bytes([
    31, 139, 8, 0, 0, 9, 110, 136, 0, 255, 98, 24, 5, 163, 96, 20, 140, 88, 0, 8, 0, 0, 255, 255, 46,
    175, 181, 239, 0, 4, 0, 0])


def sha256(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def fixture(name):
    return (FIXTURES / name).read_bytes()


def payload(document):
    """What is signed of a document in libtrust's pretty form."""
    return document[:document.index(b',\n   "signatures"')] + b"\n}"


def pretty(value):
    return json.dumps(value, indent=3).encode()


class Registry:
    """A registry, and what it answered: step -> answer."""

    def __init__(self, address):
        self.address = address
        self.answers = {}

    def send(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response, content

    def blob(self, repository, content):
        response, _ = self.send("POST", f"/v2/{repository}/blobs/uploads/", b"")
        location = re.sub(r"^https?://[^/]*", "", response.getheader("Location"))
        mark = "&" if "?" in location else "?"
        response, answer = self.send(
            "PUT", f"{location}{mark}digest={sha256(content)}", content,
            [("Content-Type", "application/octet-stream")])
        assert response.status == 201, answer
        return {"digest": sha256(content), "size": len(content)}

    def ask(self, step, method, path, body=None, headers=()):
        """Sends a request and keeps what a client would notice of the answer."""
        assert step not in self.answers, f"two steps are called {step}"
        response, content = self.send(method, path, body, headers)
        said = [str(response.status)]
        media_type = response.getheader("Content-Type", "")
        if response.status >= 400:
            if method != "HEAD":
                try:
                    codes = [error["code"] for error in json.loads(content)["errors"]]
                except (ValueError, KeyError, TypeError):
                    codes = ["(no error)"]
                said.append(",".join(dict.fromkeys(codes)))
        elif response.status in (200, 201, 304):
            if response.status == 200:
                said.append(CODES.get(media_type, media_type))
            digest = response.getheader("Docker-Content-Digest")
            said.append(f"digest {digest[:19] if digest else 'missing'}")
            if response.status == 200 and method == "GET" and media_type in CODES:
                identity = payload(content) if media_type == S1P and b',\n   "sig' in content else content
                said.append("whole" if sha256(identity) == digest else "not the digest of the bytes")
                said.append(f"length {response.getheader('Content-Length')}" if media_type != S1P else "")
        self.answers[step] = " ".join(word for word in said if word)
        return content

    def put(self, step, repository, reference, media_type, body):
        headers = [("Content-Type", media_type)] if media_type else []
        return self.ask(step, "PUT", f"/v2/{repository}/manifests/{reference}", body, headers)

    def get(self, step, repository, reference, accept=(), method="GET", headers=()):
        headers = [("Accept", value) for value in accept] + list(headers)
        return self.ask(step, method, f"/v2/{repository}/manifests/{reference}", None, headers)


ACCEPTS = {
    "none": [], "any": ["*/*"], "application": ["application/*"], "json": ["application/json"],
    "S1": [S1], "S1P": [S1P], "S2": [S2], "ML": [ML], "OM": [OM], "OI": [OI], "S2+ML": [S2, ML],
    "OM+OI": [OM, OI], "S1P,S2": [f"{S1P}, {S2}"], "weights": [f"{S2};q=0.5, */*;q=0.1"],
    "all": [S1, S1P, S2, ML, OM, OI], "S2 excluded": [f"{S2};q=0"], "capitals": [S2.upper()],
    "spaced": [f"  {S2}  ,,  {ML} "], "nonsense": ["nonsense"],
}


def transcripts(registry, run):
    repository = f"compare/{run}"
    document = fixture("libtrust/es256.json")
    config, schema2 = fixture("registry-2.8.2/config.json"), fixture("registry-2.8.2/schema2.json")
    for content in [config, EMPTY_LAYER, *(fixture(f"registry-2.8.2/layer-{n}.tar.gz") for n in range(3))]:
        registry.blob(repository, content)
    image = json.loads(schema2)
    oci = pretty({**image, "mediaType": OM})
    amd64, arm64 = {"architecture": "amd64", "os": "linux"}, {"architecture": "arm64", "os": "linux"}

    def descriptor(kind, body, platform=None):
        found = {"mediaType": kind, "digest": sha256(body), "size": len(body)}
        return {**found, "platform": platform} if platform else found

    def listing(kind, *children):
        return pretty({"schemaVersion": 2, "mediaType": kind, "manifests": list(children)})

    of_docker, of_oci = descriptor(S2, schema2, amd64), descriptor(OM, oci, arm64)
    stored = {
        "S1": (S1P, document, payload(document)),
        "S2": (S2, schema2, schema2),
        "OM": (OM, oci, oci),
    }
    for kind, name in [(ML, "ML"), (OI, "OI")]:
        body = listing(kind, of_oci, of_docker)
        stored[name] = (kind, body, body)

    # Pushing each, and pulling it in every way.
    for name, (kind, body, about) in stored.items():
        registry.put(f"push {name} by tag", repository, name, kind, body)
        registry.put(f"push {name} by digest", repository, sha256(about), kind, body)
        registry.put(f"push {name} by a wrong digest", repository, sha256(b"x"), kind, body)
        if kind != S1P:
            registry.put(f"push {name} without type", repository, "untyped", None, body)
            registry.put(f"push {name} as json", repository, "untyped", "application/json", body)
    for name, (kind, body, about) in stored.items():
        for accepted, accept in ACCEPTS.items():
            for by, reference in [("tag", name), ("digest", sha256(about))]:
                registry.get(f"pull {name} by {by} accepting {accepted}", repository, reference, accept)
                registry.get(f"head {name} by {by} accepting {accepted}", repository, reference, accept, "HEAD")
        condition = [("If-None-Match", f'"{sha256(about)}"')]
        registry.get(f"condition {name} accepting all", repository, name, ACCEPTS["all"], headers=condition)
        registry.get(f"condition {name} accepting none", repository, name, headers=condition)
    first = registry.get("pull S1 twice, first", repository, "S1")
    second = registry.get("pull S1 twice, second", repository, "S1")
    registry.answers["bytes of S1 are as pushed"] = str(first == document)
    registry.answers["bytes of S1 stay the same"] = str(first == second)
    made = registry.get("pull S2 as S1", repository, "S2", [S1P])
    document_made = json.loads(made)
    key = document_made["signatures"][0]["header"]["jwk"]
    key.pop("keyID", None)
    registry.answers["conversion: what is signed"] = sha256(payload(made))
    registry.answers["conversion: the key"] = json.dumps(key, sort_keys=True)
    registry.ask("conversion: the empty layer", "HEAD", f"/v2/{repository}/blobs/{sha256(EMPTY_LAYER)}")
    registry.put("conversion: pushed back", repository, "back", S1P, made)
    lists = {
        "without amd64": listing(ML, of_oci),
        "of an OCI image for amd64": listing(ML, {**of_oci, "platform": amd64}),
        "empty": listing(ML),
    }
    for name, body in lists.items():
        registry.put(f"list {name}: push", repository, "list", ML, body)
        for accepted in ["none", "S2", "OM", "all"]:
            registry.get(f"list {name}: pull accepting {accepted}", repository, "list", ACCEPTS[accepted])

    # Schema 1: what is refused, and how.
    text = document.decode()
    other = json.loads(fixture("libtrust/two-signatures.json"))
    other["signatures"][1]["signature"] = other["signatures"][0]["signature"]
    two = fixture("libtrust/two-signatures.json").decode()
    documents = {
        "tampered": text.replace("amd64", "arm64", 1),
        "with a tampered signature": re.sub(r'("signature": ")(.)', lambda m: m[1] + ("B" if m[2] == "A" else "A"), text),
        "unsigned": payload(document).decode(),
        "with no signatures in the list": text[:text.index('"signatures"')] + '"signatures": []}',
        "with null signatures": text[:text.index('"signatures"')] + '"signatures": null}',
        "without a key": text.replace('"jwk"', '"no"'),
        "of another algorithm": text.replace("ES256", "ES384"),
        "of no algorithm": text.replace("ES256", "none"),
        "with another kid": re.sub(r'"kid": "....', '"kid": "AAAA', text),
        "cut off": text[:len(text) // 2],
        "empty": "",
        "of an empty object": "{}",
        "with content beside the signatures": text.replace('"signatures"', '"extra": 1, "signatures"', 1),
        "with a key twice": text.replace("{", '{"name": "twice",', 1),
        "with format length 0": "", "with chain of one": fixture("libtrust/x5c-alone.json").decode(),
        "with chain": fixture("libtrust/x5c-es256.json").decode(),
        "with chain of RSA": fixture("libtrust/x5c-rs256.json").decode(),
        "with a chain in a circle": fixture("libtrust/x5c-circle.json").decode(),
        "with a chain that has a gap": fixture("libtrust/x5c-gap.json").decode(),
        "signed by another key than its chain": fixture("libtrust/x5c-wrong-key.json").decode(),
        "with a chain of nine": fixture("libtrust/x5c-too-long.json").decode(),
        "with nine signatures": fixture("libtrust/nine-signatures.json").decode(),
        "with two signatures": two,
        "with a wrong second signature": re.sub(
            r'("signature": ")(.)(?=[^"]{300})', lambda m: m[1] + ("B" if m[2] == "A" else "A"), two),
        "by ES384": fixture("libtrust/es384.json").decode(),
        "by ES512": fixture("libtrust/es512.json").decode(),
        "by RS256": fixture("libtrust/rs256.json").decode(),
        "by RS256 with 1024 bits": fixture("libtrust/rs256-1024-bits.json").decode(),
        "without layers": fixture("libtrust/compact.json").decode(),
    }
    del documents["with format length 0"]
    for name, body in documents.items():
        registry.put(f"document {name}", repository, "bad", S1P, body.encode())
    for kind in [S1, None, "application/json", "text/plain", "*/*", "application/vnd.unknown", OM, S2]:
        registry.put(f"document declared as {kind}", repository, "declared", kind, document)
    bare = f"{repository}-bare"
    registry.blob(bare, b"something")
    registry.put("document whose layers are missing", bare, "v1", S1P, document)
    large = text.replace("{", "{" + " " * (4 << 20), 1)
    registry.put("document over 4 MiB", repository, "large", S1P, large.encode())

    # The other types: what is refused.
    absent = {"mediaType": LAYER, "digest": sha256(b"absent"), "size": 6}
    foreign = {**absent, "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}
    there = {"urls": ["https://example.com/layer"]}

    def without(body, key):
        return {name: value for name, value in body.items() if name != key}

    oci_image = {**image, "mediaType": OM}
    blobs = [image["layers"][0], image["config"]]
    bodies = {
        "S2 without mediaType": (S2, without(image, "mediaType")),
        "S2 of another mediaType": (S2, oci_image),
        "S2 of schemaVersion 3": (S2, {**image, "schemaVersion": 3}),
        "S2 with a missing layer": (S2, {**image, "layers": [absent]}),
        "S2 with a missing config": (S2, {**image, "config": {**absent, "mediaType": CONFIG}}),
        "S2 with a foreign layer": (S2, {**image, "layers": [{**foreign, **there}]}),
        "S2 with a foreign layer without urls": (S2, {**image, "layers": [foreign]}),
        "S2 with a foreign layer of a bad url": (S2, {**image, "layers": [{**foreign, "urls": ["file:///x"]}]}),
        "S2 with manifests": (S2, {**image, "manifests": []}),
        "S2 with a subject": (S2, {**image, "subject": descriptor(OM, oci)}),
        "ML without mediaType": (ML, {"schemaVersion": 2, "manifests": []}),
        "ML with a missing child": (ML, {"schemaVersion": 2, "mediaType": ML, "manifests": [{**absent, "mediaType": S2, "platform": amd64}]}),
        "ML of schemaVersion 1": (ML, {"schemaVersion": 1, "mediaType": ML, "manifests": []}),
        "ML with layers": (ML, {"schemaVersion": 2, "mediaType": ML, "manifests": [], "layers": []}),
        "OM without mediaType": (OM, without(oci_image, "mediaType")),
        "OM of another mediaType": (OM, image),
        "OM with manifests": (OM, {**oci_image, "manifests": []}),
        "OM with a missing layer": (OM, {**oci_image, "layers": [absent]}),
        "OM without layers": (OM, {**oci_image, "layers": []}),
        "OM with a subject": (OM, {**oci_image, "subject": descriptor(OM, oci)}),
        "OM with a nondistributable layer": (OM, {**oci_image, "layers": [
            {**absent, "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", **there}]}),
        "OI without mediaType": (OI, {"schemaVersion": 2, "manifests": []}),
        "OI with config": (OI, {"schemaVersion": 2, "mediaType": OI, "manifests": [], "config": image["config"]}),
        "OI with layers": (OI, {"schemaVersion": 2, "mediaType": OI, "manifests": [], "layers": []}),
        "OI of blobs": (OI, {"schemaVersion": 2, "mediaType": OI, "manifests": blobs}),
        "ML of blobs": (ML, {"schemaVersion": 2, "mediaType": ML, "manifests": blobs}),
        "OI with a blob as a manifest": (OI, {"schemaVersion": 2, "mediaType": OI, "manifests": [{**blobs[0], "mediaType": OM}]}),
        "OI of a missing blob": (OI, {"schemaVersion": 2, "mediaType": OI, "manifests": [absent]}),
        "OI with null manifests": (OI, {"schemaVersion": 2, "mediaType": OI, "manifests": None}),
        "OM with null layers": (OM, {**oci_image, "layers": None}),
        "OM with no key layers": (OM, without(oci_image, "layers")),
        "S2 with null layers": (S2, {**image, "layers": None}),
        "OM with a layer of an unknown algorithm": (OM, {**oci_image, "layers": [{**absent, "digest": "md5:" + "0" * 32}]}),
        "S2 with a layer of another size": (S2, {**image, "layers": [{**image["layers"][0], "size": 1}]}),
        "OI with a missing child": (OI, {"schemaVersion": 2, "mediaType": OI, "manifests": [{**absent, "mediaType": OM}]}),
        "an OCI artifact manifest": ("application/vnd.oci.artifact.manifest.v1+json", oci_image),
        "OM declared as text": ("text/plain", oci_image),
        "OM declared with a parameter": (OM + "; charset=utf-8", oci_image),
        "S2 declared in capitals": (S2.upper(), image),
    }
    for name, (kind, body) in bodies.items():
        registry.put(f"manifest {name}", repository, "other", kind, pretty(body))
    registry.put("manifest that is no JSON", repository, "other", S2, b"no JSON")
    registry.put("manifest with a key twice", repository, "other", S2, schema2.replace(b"{", b'{"schemaVersion": 2,', 1))
    registry.put("manifest over 4 MiB", repository, "other", S2, schema2 + b" " * (4 << 20))

    # An image that cannot be converted.
    plain = b'{"architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}'
    registry.blob(repository, plain)
    body = pretty({"schemaVersion": 2, "mediaType": S2, "layers": [], "config": {
        "mediaType": CONFIG, "digest": sha256(plain), "size": len(plain)}})
    registry.put("image without history: push", repository, "plain", S2, body)
    registry.get("image without history: pull as S1", repository, "plain")
    registry.get("image without history: pull as S2", repository, "plain", [S2])

    # What is not there, and what goes away.
    registry.get("absent tag", repository, "absent")
    registry.get("absent digest", repository, sha256(b"absent"))
    registry.get("absent repository", f"{repository}-absent", "v1")
    about = sha256(payload(document))
    registry.ask("delete S1", "DELETE", f"/v2/{repository}/manifests/{about}")
    registry.get("deleted S1 by digest", repository, about)
    registry.get("deleted S1 by tag", repository, "S1")


def rows(page):
    """The rows of the table: pattern of steps, their answer, ours. Each may have asterisks."""
    found = []
    for line in pathlib.Path(page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4:
            found.append([cell.strip("`") for cell in cells[:3]])
    return found


def matches(pattern, text):
    # Brackets mean themselves.
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def main():
    theirs, ours, page = Registry(sys.argv[1]), Registry(sys.argv[2]), sys.argv[3]
    run = str(time.time_ns())
    for registry in (theirs, ours):
        transcripts(registry, run)
    explained = {tuple(row): 0 for row in rows(page)}
    unexplained = 0
    for step, answer in theirs.answers.items():
        answers = [re.sub(r"length \d+", "length", text) if "S1P" in text else text
                   for text in (answer, ours.answers[step])]
        if answers[0] == answers[1]:
            continue
        row = next((row for row in explained
                    if all(matches(p, t) for p, t in zip(row, [step, *answers]))), None)
        if row:
            explained[row] += 1
        else:
            unexplained += 1
            print(f"unexplained: {step}\n  theirs: {answers[0]}\n  ours:   {answers[1]}")
    stale = [row for row, count in explained.items() if count == 0]
    for row in stale:
        print(f"nothing differs any more as explained: {' | '.join(row)}")
    differing = sum(explained.values())
    same = len(theirs.answers) - differing - unexplained
    print(f"{len(theirs.answers)} answers: {same} the same, {differing} explained, {unexplained} unexplained")
    failed = unexplained + len(stale)
    print(f"compare: {same + differing} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
