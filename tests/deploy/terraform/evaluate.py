"""What Terraform itself makes of the variables: what it refuses, and the chart with the values of the
examples. Needs terraform and helm, and no provider: only variables and locals are evaluated."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from examples import EXAMPLES, ROOT, TERRAFORM
from report import check

sys.path.insert(0, str(ROOT / "tests/deploy/chart"))
from render import Refused, render  # noqa: E402 (its folder is known only now)

# What main.tf of an example finds out from AWS.
FOUND = 'locals { load_balancer_cidrs = ["10.0.1.0/24", "10.0.2.0/24"] }\n'
SUBNETS = 'subnet_ids = ["a", "b"]'

# folder | variables over those that are good | words of the refusal; None if they are taken
VARIABLES = [
    ("modules/bucket", 'versioning = "Enabled"', None),
    ("modules/bucket", 'versioning = "Suspended"', None),
    ("modules/bucket", "versioning = true", "Disabled, Enabled or Suspended"),
    ("modules/bucket", "noncurrent_days = 0", "at least 1"),
    ("modules/bucket", "noncurrent_days = 1.5", "at least 1"),
    ("modules/bucket", "incomplete_upload_days = 2", "at least 3 days"),
    ("modules/bucket", "incomplete_upload_days = 3", None),
    ("modules/redis", "client_security_group_ids = []", "Without a security group"),
    ("modules/redis", "replicas = 6", "0 to 5"),
    ("modules/release", 'identity = "key"', "irsa or pod-identity"),
    ("modules/release", 'store_url = "/data"', "must be a bucket"),
    ("modules/release", "image = {}", '"registry" is required'),
    ("examples/eks", 'name = "Longshore"', "lower case"),
    ("examples/eks", 'name = "a--b"', "lower case"),
    ("examples/eks", f'load_balancer = {{ {SUBNETS}, scheme = "public" }}', "internal or internet-facing"),
    ("examples/eks", f'load_balancer = {{ {SUBNETS}, scheme = "internet-facing" }}', None),
    ("examples/eks", 'load_balancer = { subnet_ids = ["a"] }', "at least two subnets"),
    ("examples/eks", "monitoring = { labels = {} }", '"namespace" is required'),
    ("examples/eks", "monitoring = null", None),
]
GOOD = {
    "modules/bucket": 'name = "a"\n',
    "modules/redis": 'name = "a"\nvpc_id = "vpc-1"\nsubnet_ids = []\nclient_security_group_ids = ["sg-1"]\n',
    "modules/release": 'namespace = "ns"\nchart = "helm/longshore"\nimage = { registry = "r.example.com" }\n'
                       'store_url = "s3://bucket"\nregion = "eu-central-1"\nusers_secret = "users"\n',
}


def evaluate(folder, given, expression):
    """What `terraform console` says with these variables, and what it says is wrong."""
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        for name in ("variables.tf", "values.tf"):
            if (folder / name).exists():
                shutil.copy(folder / name, place)
        if folder.name == "eks":
            (place / "found.tf").write_text(FOUND)
        good = GOOD.get(str(folder.relative_to(TERRAFORM)))
        (place / "terraform.tfvars").write_text(good or (folder / "terraform.tfvars.example").read_text())
        # Read after the other, so it overrides.
        (place / "z.auto.tfvars").write_text(given)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
        done = subprocess.run(["terraform", "console", "-no-color"], input=expression, cwd=place, capture_output=True,
                              text=True, check=False, env=environment | {"TF_CLI_CONFIG_FILE": os.devnull})
    said = " ".join((done.stdout + done.stderr).replace("│", " ").split())
    return done.stdout, said if "Error:" in said else ""


def values_of(folder, given=""):
    out, wrong = evaluate(folder, given, "jsonencode(local.values)\n")
    assert not wrong, wrong
    # A text in the notation of HCL, whose escapes are those of JSON.
    return json.loads(json.loads(out.strip().splitlines()[0]))


def judge_variables():
    problems = []
    for where, given, refusal in VARIABLES:
        _, wrong = evaluate(TERRAFORM / where, given, "1\n")
        if refusal is None and wrong:
            problems.append(f"{where}: {given}: {wrong}")
        elif refusal is not None and refusal not in wrong:
            problems.append(f"{where}: {given}: " + (f"refused with other words: {wrong}" if wrong else "it is taken"))
    check("variables that cannot be right are refused", problems)


def merged(base, over):
    """As helm merges values."""
    both = {key: merged(base[key], over[key]) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
            for key, value in over.items()}
    return {**base, **both}


def judge_example(folder, given, look):
    """The chart takes the values of the example, and makes of them what the example is for."""
    what = f"the chart takes the values of {folder.name}" + (f" with {given}" if given else "")
    identity = "irsa" if folder.name == "eks-irsa" else "pod-identity"
    release = f'identity = "{identity}"\nrole_arn = "arn:aws:iam::123456789012:role/r"\n'
    release += 'redis_url = "rediss://redis.example.com:6379"\n' if folder.name == "eks" else ""
    try:
        values = merged(values_of(TERRAFORM / "modules/release", release), values_of(folder, given))
        objects = render(json.dumps(values))
        look(objects)
    except (AssertionError, Refused) as error:
        check(what, [str(error) or "an object is not as it should be"])
    else:
        check(what, [])


def watched(objects):
    """Prometheus reaches the admin port, the proxy the port of the registry, and it is believed."""
    policy = objects.find("NetworkPolicy")["spec"]["ingress"]
    registry, admin = (next(rule["from"] for rule in policy if rule["ports"][0]["port"] == port) for port in ("registry", "admin"))
    prometheus = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert prometheus in admin and prometheus not in registry, f"{registry}, {admin}"
    assert objects.has("ServiceMonitor") and objects.has("PrometheusRule"), objects.kinds()
    assert objects.find("Ingress") and objects.toml["server"].get("trusted_proxies"), "no proxy is trusted"


def unwatched(objects):
    assert not objects.has("ServiceMonitor") and not objects.has("PrometheusRule"), objects.kinds()


def internet_facing(objects):
    annotations = objects.find("Ingress")["metadata"]["annotations"]
    assert annotations["alb.ingress.kubernetes.io/scheme"] == "internet-facing", annotations


def judge_names():
    """Two registries have no name in common, and no name is too long for AWS."""
    ask = '"${local.redis_name} ${local.role_name}"\n'
    folder = TERRAFORM / "examples/eks"
    both = [evaluate(folder, f'name = "{name}"', ask)[0].strip().strip('"').split() for name in ("longshore", "b", "n" * 30)]
    long = evaluate(folder, f'cluster_name = "{"c" * 29}-{"d" * 70}"', ask)[0].strip().strip('"').split()
    problems = [f"{first} twice" for first, second in zip(both[0], both[1]) if first == second]
    for redis, role in both + [long]:
        problems += [f"Redis cannot be called {redis}"] if len(redis) > 40 or redis.endswith("-") else []
        problems += [f"a role cannot be called {role}"] if len(role) > 64 else []
    check("a second registry has names of its own", problems)


def judge():
    if not shutil.which("terraform"):
        print("not run what Terraform makes of the variables: terraform is not installed")
        return
    judge_variables()
    judge_names()
    monitoring = 'monitoring = { namespace = "monitoring", labels = { release = "p" } }'
    for folder in EXAMPLES:
        judge_example(folder, monitoring, watched)
        judge_example(folder, "monitoring = null", unwatched)
    judge_example(TERRAFORM / "examples/eks", f'load_balancer = {{ {SUBNETS}, scheme = "internet-facing" }}', internet_facing)
