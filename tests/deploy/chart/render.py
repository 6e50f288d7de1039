"""Renders the chart and judges what comes out, whatever the values were."""
import json
import os
import subprocess
import tempfile
import tomllib
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "helm" / "longshore"
LONGSHORE = Path(os.environ.get("REGISTRY_BINARY", ROOT / "target" / "release" / "longshore"))
KUBERNETES = ["1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
# What no object may do that this chart makes (the level `restricted` of Pod Security).
FORBIDDEN_IN_PODS = ["hostNetwork", "hostPID", "hostIPC"]


class Refused(Exception):
    """Helm would not render; its message."""


def helm_template(values, *arguments):
    """The objects that a release called `r` in the namespace `ns` has."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        done = subprocess.run(
            ["helm", "template", "r", str(CHART), "--namespace", "ns", "--kube-version", "1.37.0",
             "--values", file.name, *arguments],
            capture_output=True, text=True, check=False,
        )
    if done.returncode != 0:
        raise Refused(done.stderr)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


class Objects:
    """What was rendered, by kind and the end of the name."""

    def __init__(self, objects):
        self.all = objects
        names = [one["metadata"]["name"] for one in objects if one["kind"] == "Deployment"]
        (self.name,) = [name for name in names if not name.endswith("-redis")]

    def kinds(self):
        return sorted({one["kind"] for one in self.all})

    def find(self, kind, suffix=""):
        name = self.name + suffix
        found = [one for one in self.all if one["kind"] == kind and one["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} objects {kind}/{name} in {self.kinds()}"
        return found[0]

    def has(self, kind):
        return kind in self.kinds()

    @property
    def pod(self):
        return self.find("Deployment")["spec"]["template"]["spec"]

    @property
    def container(self):
        return self.pod["containers"][0]

    def env(self, name):
        """The value of a variable; the last one counts. None if there is none."""
        found = [one for one in self.container["env"] if one["name"] == name]
        return found[-1].get("value", found[-1].get("valueFrom")) if found else None

    def volume(self, name):
        found = [one for one in self.pod["volumes"] if one["name"] == name]
        return found[0] if found else None

    @property
    def toml(self):
        return tomllib.loads(self.find("ConfigMap")["data"]["longshore.toml"])


def strict(schema):
    """A schema of a custom resource that takes no fields which it does not name."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            # Go's flags stand anywhere, Python's at the beginning.
            schema["pattern"] = schema["pattern"].replace("^(?i)", "(?i)^")
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            strict(value)
    elif isinstance(schema, list):
        for value in schema:
            strict(value)
    return schema


def custom_resources():
    """The schemas by group, version and kind."""
    found = {}
    for path in sorted((ROOT / "target" / "tools" / "crds").glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            for field in ("apiVersion", "kind", "metadata"):
                schema["properties"][field] = {}
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = strict(schema["properties"]["spec"])
    assert len(found) >= 5, "the definitions of custom resources are missing: tests/support/tools/install helm"
    return found


CUSTOM = custom_resources()
# Most cases change one object, and each is asked about once.
VALID = set()


def validate(objects):
    """What Kubernetes itself would say."""
    for one in objects:
        written = json.dumps(one, sort_keys=True)
        if written in VALID:
            continue
        custom = CUSTOM.get((one["apiVersion"], one["kind"]))
        if custom:
            jsonschema.validate(one["spec"], custom)
        else:
            for version in KUBERNETES:
                kubernetes_validate.validate(one, version, strict=True)
        VALID.add(written)


def judge_metadata(objects):
    names = set()
    for one in objects:
        name = (one["kind"], one["metadata"]["namespace"], one["metadata"]["name"])
        assert name not in names, f"two objects {name}"
        names.add(name)
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "r" and len(one["metadata"]["name"]) <= 63
        for key, value in (one["metadata"].get("annotations") or {}).items():
            assert isinstance(value, str), f"the annotation {key} is not a text: {value!r}"


def judge_pod(spec):
    """The level `restricted`, resources, and no token that nobody uses."""
    own = spec["securityContext"]
    assert own["runAsNonRoot"] is True and own["runAsUser"] > 0
    assert own["seccompProfile"]["type"] == "RuntimeDefault"
    assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
    for field in FORBIDDEN_IN_PODS:
        assert not spec.get(field), field
    container = spec["containers"][0]
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False and context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in container["resources"]["limits"] and "memory" in container["resources"]["requests"]
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    mounts = {mount["name"]: mount for mount in container.get("volumeMounts", [])}
    assert set(mounts) >= set(volumes) or len(spec["containers"]) > 1 or spec.get("initContainers"), "a volume that nobody mounts"
    assert set(mounts) <= set(volumes), "a mount without a volume"
    for name, volume in volumes.items():
        if "secret" in volume and name in mounts and volume["secret"].get("defaultMode"):
            assert volume["secret"]["defaultMode"] == 0o440 and mounts[name]["readOnly"] is True


def judge_together(objects):
    """What has to agree between objects."""
    deployment = objects.find("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    pod, container = objects.pod, objects.container
    ports = {port["name"] for port in container["ports"]}
    selected = {"Service": lambda one: one["spec"]["selector"],
                "PodDisruptionBudget": lambda one: one["spec"]["selector"]["matchLabels"]}
    for one in objects.all:
        if one["kind"] in selected and not one["metadata"]["name"].endswith("-redis"):
            selector = selected[one["kind"]](one)
            assert selector.items() <= labels.items(), f"{one['kind']} selects {selector}, not {labels}"
            for port in one["spec"].get("ports", []):
                assert port["targetPort"] in ports
    assert objects.find("Service", "-admin")["spec"]["clusterIP"] == "None"
    service = objects.find("Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["registry"], "the admin port is not for clients"
    # The kubelet must not kill what may still go on.
    server = objects.toml["server"]
    seconds = sum(int(server[key].rstrip("s")) for key in ("drain_delay", "drain_timeout"))
    pre_stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod["terminationGracePeriodSeconds"] > seconds + pre_stop
    if objects.has("HorizontalPodAutoscaler"):
        assert "replicas" not in deployment["spec"], "two would set the number of pods"


def judge_secrets(objects):
    """No ConfigMap holds a secret, and the chart makes no Secret but that of its own Redis."""
    secrets = [one["metadata"]["name"] for one in objects.all if one["kind"] == "Secret"]
    assert secrets in ([], [f"{objects.name}-redis"])
    text = json.dumps([one for one in objects.all if one["kind"] == "ConfigMap"])
    for word in ("secret_access_key", "redis_password", "session_token", "schema1_key"):
        assert word not in text, f"{word} in a ConfigMap"


def environment_of(objects, folder):
    """The variables that the pod would have, and the files that they name, below a folder."""
    config = folder / "longshore.toml"
    config.write_text(objects.find("ConfigMap")["data"]["longshore.toml"])
    environment = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"}
    for variable in objects.container["env"]:
        key, value = variable["name"], variable.get("value", "from-a-secret")
        # Those that name files are given below: only a pod has the files.
        if key.startswith("LONGSHORE_") and not key.endswith("_FILE"):
            environment[key] = value
    environment["LONGSHORE_CONFIG"] = str(config)
    files = {one["name"] for one in objects.container["env"]}
    users = folder / "users"
    users.write_text("u:$2y$05$abcdefghijklmnopqrstuuvQ5W5kT4h3S8D2Q0yV1o6Yw1aHkG5Wm\n")
    if "LONGSHORE_ACCESS_HTPASSWD_FILE" in files:
        environment["LONGSHORE_ACCESS_HTPASSWD_FILE"] = str(users)
    if "LONGSHORE_STORE_S3_SECRET_ACCESS_KEY_FILE" in files:
        environment["LONGSHORE_STORE_S3_SECRET_ACCESS_KEY"] = "from-a-secret"
    if "LONGSHORE_CACHE_REDIS_PASSWORD_FILE" in files:
        environment["LONGSHORE_CACHE_REDIS_PASSWORD"] = "from-a-secret"
    if "LONGSHORE_ACCESS_TOKEN_KEYS_FILE" in files:
        key = folder / "key.pem"
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(folder / "private")], check=True, capture_output=True)
        subprocess.run(["openssl", "ec", "-in", str(folder / "private"), "-pubout", "-out", str(key)], check=True, capture_output=True)
        environment["LONGSHORE_ACCESS_TOKEN_KEYS_FILE"] = str(key)
    return environment


def ask_longshore(objects):
    """Longshore reads the file and the variables that the pod would have, over a store in memory."""
    if not LONGSHORE.exists():
        return False
    with tempfile.TemporaryDirectory() as folder:
        environment = environment_of(objects, Path(folder))
        # `explain` reads every setting and touches neither the store nor Redis, nor the files of TLS.
        environment |= {one["name"]: one["value"] for one in objects.container["env"] if one["name"].startswith("LONGSHORE_SERVER_TLS_")}
        done = subprocess.run(
            [str(LONGSHORE), "access", "explain", "--subject", "user:u", "--repository", "a", "--action", "pull"],
            env=environment, capture_output=True, text=True, check=False, cwd=folder,
        )
    told = done.stdout + done.stderr
    assert done.returncode in (0, 1) and "cannot be used" not in told, f"longshore does not take these settings:\n{told}"
    return True


def render(values, *arguments):
    """Renders, and judges what holds for any values."""
    objects = Objects(helm_template(values, *arguments))
    validate(objects.all)
    judge_metadata(objects.all)
    for one in objects.all:
        if one["kind"] == "Deployment":
            judge_pod(one["spec"]["template"]["spec"])
        elif one["kind"] == "Pod":
            judge_pod(one["spec"])
    judge_together(objects)
    judge_secrets(objects)
    ask_longshore(objects)
    return objects
