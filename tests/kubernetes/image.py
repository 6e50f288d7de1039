"""Makes an archive of one image, as `docker save` does, out of a folder:

    image.py NAME FOLDER ARCHIVE CONFIG        CONFIG is JSON: {"Entrypoint": [...], "User": "1000", ...}
"""
import hashlib
import io
import json
import sys
import tarfile

name, folder, archive, config = sys.argv[1:]


def digest_of(content):
    return hashlib.sha256(content).hexdigest()


def owned_by_root(entry):
    entry.uid = entry.gid = 0
    entry.mtime = 0
    return entry


layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as tar:
    tar.add(folder, ".", filter=owned_by_root)
layer = layer.getvalue()
config = json.dumps({
    "architecture": "amd64", "os": "linux", "config": json.loads(config),
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest_of(layer)]},
}).encode()
index = json.dumps([{"Config": digest_of(config) + ".json", "RepoTags": [name], "Layers": [digest_of(layer) + "/layer.tar"]}])
with tarfile.open(archive, "w") as tar:
    for path, content in ((digest_of(config) + ".json", config), (digest_of(layer) + "/layer.tar", layer), ("manifest.json", index.encode())):
        entry = tarfile.TarInfo(path)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
