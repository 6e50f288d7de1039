"""Each attack beside a client that behaves well: whether it is still served, and how fast."""

import os
import secrets
import subprocess
import sys

import attacks
from attacks import ATTACKS
from processes import OTHER_CORE, pinned
from well_behaved import PASSWORD, USER, Client

GROUP = "Under attack: a store that answers at once, a login, limits of a small machine"
SETTINGS = {
    "SERVER_CONNECTIONS_MAX": "400",
    "SERVER_TRUSTED_PROXIES": "127.0.1.0/24",
    "UPLOADS_BUFFER_BYTES": "64MiB",
    "UPLOADS_CONCURRENT_MAX": "200",
    "UPLOADS_WAIT_MAX": "3s",
    "CACHE_LOCAL_BYTES": "16MiB",
    "BLOBS_DELIVERY": "proxy",
}
# How much of the requests has to succeed, and how much slower than undisturbed the slowest may be.
SLOWER, MORE_MS = 2, 50
ATTACK = os.path.join(os.path.dirname(__file__), "attacks.py")


def measure(bench):
    servers = bench.servers
    users = os.path.join(servers.folder, "users")
    with open(users, "w") as file:
        for user, password in ((USER, PASSWORD), (attacks.USER, attacks.PASSWORD)):
            file.write(f"{user}:{bcrypt(password)}\n")
    settings = {**SETTINGS, "ACCESS_HTPASSWD_FILE": users, "ACCESS_AUTHENTICATED": "push"}
    seconds = bench.sizes["abuse"]
    for name, (what, count, _) in ATTACKS.items():
        # It keeps in memory what is pushed: some gigabytes for each attack.
        store = servers.null_store(name="abused-store")
        registry = servers.longshore(f"abuse-{name}", store, **settings)
        client = Client(registry.address)
        blob = client.prepare()
        client.work(blob, 1)
        calm, failed = client.work(blob, seconds)
        if failed:
            raise RuntimeError(f"{failed} of {len(calm)} requests failed without any attack")
        with attack(name, registry.address, blob):
            took, failed = client.work(blob, seconds)
            memory = registry.memory("VmHWM")
        limit = SLOWER * p99(calm) + MORE_MS
        row = f"{count} × {what}"
        succeeded = 100 * (1 - failed / len(took))
        bench.figure(GROUP, f"{row}: requests that succeed", "%", 100, 100).add(succeeded)
        bench.figure(GROUP, f"{row}: p99, undisturbed {p99(calm):.0f} ms", "ms", limit, limit, True).add(p99(took))
        bench.figure(GROUP, f"{row}: most memory", "MiB").add(memory)
        print(f"  {name}: {succeeded:.1f} % of {len(took)}, p99 {p99(took):.0f} ms after {p99(calm):.0f} ms, "
              f"{memory:.0f} MiB", flush=True)
        servers.stop(registry)
        servers.stop(store)


def p99(took):
    """In milliseconds."""
    return sorted(took)[min(len(took) - 1, len(took) * 99 // 100)] * 1000


class attack:
    """Runs from when it stands until the end of the block."""

    def __init__(self, name, address, blob):
        environment = {**os.environ, "ATTACKED_BLOB": blob}
        command = pinned(OTHER_CORE, [sys.executable, ATTACK, name, address])
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def __enter__(self):
        said = self.process.stdout.readline()
        if said != "standing\n":
            raise RuntimeError(f"the attack did not begin: {said or self.process.wait()}")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def bcrypt(password):
    """A hash of cost 10, by the C library, which knows bcrypt on Debian."""
    salt = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(21)) + "u"
    script = "print crypt($ARGV[0], $ARGV[1])"
    ran = subprocess.run(["perl", "-e", script, password, f"$2y$10${salt}"], capture_output=True, text=True, check=True)
    if not ran.stdout.startswith("$2y$10$"):
        raise RuntimeError("the C library of this machine does not know bcrypt")
    return ran.stdout
