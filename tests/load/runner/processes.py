"""Starts what is measured and what it needs, on their cores, and reads what they cost."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

LOAD = os.environ["LOAD_BINARY"]
LONGSHORE = os.environ["REGISTRY_BINARY"]
ACCESS_KEY, SECRET_KEY = "longshore-tests", "longshore-tests-secret"
BUCKET = "bench"
# The registry has one core and everything else the other: what a registry does in a second is then
# what it does on one core, whatever the client costs.
REGISTRY_CORE, OTHER_CORE = "1", "0"
TICKS = os.sysconf("SC_CLK_TCK")
# No run of the client takes half of this; one that hangs must not hang the benchmark.
RUN_SECONDS_MAX = 1800


def free_port():
    """A port below those that the kernel takes for outgoing connections."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def pinned(core, command):
    return ["taskset", "-c", core, *command] if os.cpu_count() > 1 else command


class Process:
    """A server that runs, with its cost."""

    # Those that were started and not yet stopped here.
    running = []
    # What goes with it when it is stopped.
    folder = None

    def __init__(self, name, command, port, core, environment=None, log=None):
        self.name, self.port, self.address = name, port, f"127.0.0.1:{port}"
        self.log = open(log, "wb")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "LONGSHORE_"))}
        env.update(environment or {})
        # A group of its own: what runs it, strace for instance, must not end without it.
        self.process = subprocess.Popen(
            pinned(core, command), env=env, stdout=self.log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        Process.running.append(self)

    def wait(self, path="/", seconds=60, pause=0.02):
        """Until it answers anything at all; with `path`, over HTTP."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as to:
                    if path is None:
                        return self
                    to.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
                    if to.recv(12).startswith(b"HTTP/1."):
                        return self
            except OSError:
                pass
            time.sleep(pause)
        raise RuntimeError(f"{self.name} did not start; {self.ending() or 'it still runs'}")

    def ending(self):
        """How it ended, if it did so by itself, and the last that it said."""
        status = self.process.poll()
        if status is None:
            return None
        # A registry that is told to end by somebody else ends with 0 and says nothing at `warn`.
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        with open(self.log.name, errors="replace") as log:
            said = log.read()[-1000:].strip() or "an empty log"
        return f"{self.name} had ended by itself with {how}: {said}"

    def cpu(self):
        """Seconds of CPU, of the whole process, by the kernel's count."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, field):
        """MiB, `VmRSS` or `VmHWM`."""
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / 1024
        raise RuntimeError(f"{self.name} has no {field}")

    def stop(self):
        if self in Process.running:
            Process.running.remove(self)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.log.close()


class Servers:
    """All that was started; ends with the block it was made for."""

    def __init__(self, logs):
        self.logs, self.running = logs, []
        os.makedirs(logs, exist_ok=True)
        # In memory where there is room: what is measured is not a disk.
        room = "/dev/shm" if shutil.disk_usage("/dev/shm").free > 6 << 30 else None
        self.folder = tempfile.mkdtemp(prefix="longshore-load-", dir=room)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            if ended := process.ending():
                print(ended, flush=True)
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name, command, core, path="/", environment=None, port=None, pause=0.02):
        port = port or free_port()
        command = [part.replace("PORT", str(port)) for part in command]
        log = os.path.join(self.logs, name + ".log")
        process = Process(name, command, port, core, environment, log)
        self.running.append(process)
        return process.wait(path, pause=pause)

    def stop(self, process):
        ended = process.ending()
        process.stop()
        self.running.remove(process)
        if process.folder:
            # It may lie in memory, of which the next one needs all.
            shutil.rmtree(process.folder, ignore_errors=True)
        if ended:
            raise RuntimeError(ended)

    def null_store(self, *options, name="store"):
        command = [LOAD, "store", "--listen", "127.0.0.1:PORT", *options]
        return self.start(name, command, OTHER_CORE, "/__counts")

    def delay(self, store, milliseconds):
        """The same store, further away by so much in each direction."""
        command = [LOAD, "delay", "--listen", "127.0.0.1:PORT", "--to", store.address]
        return self.start("delay", [*command, "--milliseconds", str(milliseconds)], OTHER_CORE)

    def hello(self):
        return self.start("hello", [LOAD, "hello", "--listen", "127.0.0.1:PORT"], REGISTRY_CORE)

    def redis(self):
        folder = os.path.join(self.folder, "redis")
        os.makedirs(folder, exist_ok=True)
        command = ["redis-server", "--port", "PORT", "--bind", "127.0.0.1", "--save", ""]
        return self.start("redis", [*command, "--dir", folder], OTHER_CORE, None)

    def minio(self):
        folder = tempfile.mkdtemp(prefix="minio-", dir=self.folder)
        env = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY, "HOME": folder}
        command = ["minio", "server", folder + "/data", "--address", "127.0.0.1:PORT"]
        minio = self.start("minio", command, OTHER_CORE, "/minio/health/ready", env)
        minio.folder = folder
        time.sleep(1)
        make = ["curl", "-fsS", "--aws-sigv4", "aws:amz:us-east-1:s3", "-X", "PUT"]
        make += ["--user", f"{ACCESS_KEY}:{SECRET_KEY}", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
        for bucket in (BUCKET, "peer3", "peer2"):
            subprocess.run([*make, f"http://{minio.address}/{bucket}"], check=True)
        return minio

    def longshore(self, name, store, before=(), **settings):
        """A registry; `before` is a command that runs it."""
        core, environment = REGISTRY_CORE, registry_environment(store, settings)
        command = [*before, LONGSHORE, "serve", "--listen", "127.0.0.1:PORT", "--store", f"s3://{BUCKET}/{name}"]
        return self.start(name, command, core, "/v2/", environment)

    def distribution(self, program, bucket, settings, store, redis):
        """Docker's registry, as alike as its settings allow."""
        port = free_port()
        page = f"""version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  s3: {{region: us-east-1, bucket: {bucket}, accesskey: {ACCESS_KEY}, secretkey: {SECRET_KEY},
       regionendpoint: "http://{store.address}", forcepathstyle: true, secure: false, v4auth: true,
       chunksize: 16777216, rootdirectory: /}}
  cache: {{blobdescriptor: redis}}
  delete: {{enabled: true}}
  redirect: {{disable: false}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
redis: {settings.replace("ADDRESS", redis.address)}
http: {{addr: "127.0.0.1:{port}", secret: abc}}
"""
        path = os.path.join(self.folder, program + ".yml")
        with open(path, "w") as file:
            file.write(page)
        return self.start(program, [program, "serve", path], REGISTRY_CORE, "/v2/", port=port)


def registry_environment(store, settings):
    """Settings are named as their variables are, without the prefix."""
    environment = {
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "LONGSHORE_STORE_S3_ENDPOINT": f"http://{store.address}",
        "LONGSHORE_LOG_LEVEL": "warn",
    }
    environment.update({"LONGSHORE_" + name: value for name, value in settings.items()})
    return environment


def failure(what):
    """What went wrong, and with it every server that is gone: mostly that is why."""
    ended = [process.ending() for process in Process.running]
    return RuntimeError("\n".join([what, *filter(None, ended)]))


def load(*arguments, core=OTHER_CORE):
    """Runs the load program and returns the text that it prints."""
    command = pinned(core, [LOAD, *map(str, arguments)])
    ran = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=RUN_SECONDS_MAX
    )
    if ran.returncode != 0:
        raise failure(f"{' '.join(command)}: {ran.stderr.strip()}")
    return ran.stdout


def measured(*arguments):
    """Runs a scenario of the load program, which must see no error."""
    report = json.loads(load(*arguments))
    for part in [report, *[value for value in report.values() if isinstance(value, dict)]]:
        if part.get("errors"):
            raise failure(f"{arguments[0]}: {part['errors']} errors, {part['first_error']}")
    return report


def images(registry, *options):
    """Pushes images and returns for each the path by tag, by digest and those of its layers."""
    rows = load("images", "--server", registry.address, *options).splitlines()
    return [(row.split()[0], row.split()[1], row.split()[2:]) for row in rows]


def s3_counts(store):
    with urllib.request.urlopen(f"http://{store.address}/__counts") as answer:
        return json.load(answer)


def said_by_redis(redis, command):
    with socket.create_connection(("127.0.0.1", redis.port)) as to:
        to.sendall(f"{command}\r\nQUIT\r\n".encode())
        text = b""
        while chunk := to.recv(65536):
            text += chunk
    return text.decode()


def empty_redis(redis):
    said = said_by_redis(redis, "FLUSHALL")
    if not said.startswith("+OK"):
        raise failure(f"Redis cannot be emptied: {said}")


def redis_calls(redis):
    """How often each command was called. This question is a command, too, and is left out."""
    calls = {}
    for line in said_by_redis(redis, "INFO commandstats").splitlines():
        if line.startswith("cmdstat_"):
            name, rest = line[len("cmdstat_"):].split(":", 1)
            calls[name] = int(rest.split(",")[0].split("=")[1])
    quiet = ("info", "quit", "hello", "client|setinfo", "client|setname", "select", "ping", "auth")
    return {name: count for name, count in calls.items() if name not in quiet}
