"""The examples, and what the modules promise an operator. See `run`, which calls check.py."""
import re
from pathlib import Path

import hcl2

from report import check

ROOT = Path(__file__).resolve().parents[3]
TERRAFORM = ROOT / "terraform"
EXAMPLES = sorted(path.parent for path in TERRAFORM.glob("examples/*/main.tf"))
# What a rule of a lifecycle may have. Anything else archives or removes what is in use.
RULE_MAY = {"id", "status", "filter", "abort_incomplete_multipart_upload", "noncurrent_version_expiration", "expiration"}
# What makes removals fail, or objects unreadable.
NEVER_IN_A_BUCKET = ["aws_s3_bucket_object_lock_configuration", "object_lock_enabled", "aws_s3_bucket_intelligent_tiering_configuration"]


def text(value):
    """python-hcl2 keeps the quotes of texts."""
    return value.strip('"') if isinstance(value, str) else value


def keys(body):
    return {key for key in body if not key.startswith("__")}


def load(folder):
    """The blocks of a folder by their kind, and its source without comments."""
    blocks, source = {}, ""
    for path in sorted(folder.glob("*.tf")):
        with open(path) as file:
            for kind, items in hcl2.load(file).items():
                blocks.setdefault(kind, []).extend(items if isinstance(items, list) else [items])
        source += re.sub(r"#.*", "", path.read_text())
    return blocks, source


def named(blocks, kind):
    """The bodies of variables, outputs, modules or providers by name."""
    return {text(name): body for block in blocks.get(kind, []) for name, body in block.items()}


def resources(blocks, of):
    return [body for block in blocks.get("resource", []) for kind, named in block.items() if text(kind) == of for body in named.values()]


def setting(name):
    """The default of a setting of Longshore, from the page that the program writes."""
    page = (ROOT / "docs/configuration.md").read_text()
    return re.search(rf'^#{name} = "?([^"\n]+)"?$', page, re.M)[1]


def judge_lifecycle():
    """A rule may end uploads and remove old versions, and nothing else (docs/collection.md)."""
    rules, problems = [], []
    for folder in {path.parent for path in TERRAFORM.rglob("*.tf")}:
        blocks, source = load(folder)
        problems += [f"{word} in {folder.name}" for word in NEVER_IN_A_BUCKET if word in source]
        for body in resources(blocks, "aws_s3_bucket_lifecycle_configuration"):
            rules += body.get("rule", [])
            problems += [f"a dynamic rule, which may be left out: {one}" for one in body.get("dynamic", [])]
    for rule in rules:
        problems += [f"a rule has {key}" for key in sorted(keys(rule) - RULE_MAY)]
        problems += [f"a rule has a filter: {one}" for one in rule["filter"] if keys(one)]
        problems += [f"a rule is {rule['status']}" for _ in [0] if text(rule["status"]) != "Enabled"]
        for one in rule.get("expiration", []):
            problems += [f"an expiration has {key}, so objects in use expire" for key in sorted(keys(one) - {"expired_object_delete_marker"})]
    check("no lifecycle rule touches what is in use", problems)
    found = set().union(*(keys(rule) for rule in rules))
    wanted = {"abort_incomplete_multipart_upload", "noncurrent_version_expiration", "expiration"}
    check("lifecycle rules end uploads and remove old versions and delete markers", sorted(wanted - found))
    variables = named(load(TERRAFORM / "modules/bucket")[0], "variable")
    days, grace = variables["incomplete_upload_days"], setting("grace")
    assert grace.endswith("d"), f"collection.grace is {grace} now"
    least = int(re.search(r"incomplete_upload_days >= (\d+)", str(days["validation"]))[1])
    page = (ROOT / "docs/stores.md").read_text()
    documented = int(re.search(r'"AbortIncompleteMultipartUpload": \{ "DaysAfterInitiation": (\d+) \}', page)[1])
    problems = [f"{least} days are allowed, and collection.grace is {grace}"] if least <= int(grace[:-1]) else []
    problems += [f"the default is {days['default']}, docs/stores.md has {documented}"] if days["default"] != documented else []
    check("no rule ends an upload that a client may still continue", problems)
    default = text(variables["versioning"]["default"])
    check("a new bucket has no versions", [] if default == "Disabled" else [f"versioning is {default!r}: S3 has no way back from there"])


def judge_versions():
    """Each provider has a bound below and above, the same everywhere."""
    problems, bounds = [], {}
    for folder in {path.parent for path in TERRAFORM.rglob("*.tf")}:
        for block in load(folder)[0].get("terraform", []):
            if "<" not in text(block.get("required_version", "")):
                problems.append(f"{folder.name}: required_version has no upper bound")
            for one in block.get("required_providers", []):
                for name in keys(one):
                    version = text(str(one[name].get("version", one[name].get('"version"', ""))))
                    if "<" not in version:
                        problems.append(f"{folder.name}: the provider {name} has no upper bound")
                    bounds.setdefault(name, set()).add(version)
    problems += [f"the provider {name} has the bounds {sorted(found)}" for name, found in bounds.items() if len(found) > 1]
    assert len(bounds) >= 4, "providers are missing"
    check("each provider has one range of versions", problems)


def judge_token(folder):
    """A token that Terraform reads at the plan expires while Redis is being made."""
    blocks, source = load(folder)
    problems = ["a token that is read at the plan"] if re.search(r"aws_eks_cluster_auth|\btoken\s*=", source) else []
    cluster = {"helm": lambda body: body["kubernetes"], "kubernetes": lambda body: body}
    providers = named(blocks, "provider")
    locals_ = str(blocks.get("locals", []))
    for name in sorted(set(providers) & set(cluster)):
        found = cluster[name](providers[name]).get("exec")
        if not found:
            problems.append(f"the provider {name} has no exec")
        elif "get-token" not in (locals_ if "local." in str(found) else str(found)):
            problems.append(f"the exec of the provider {name} is not `aws eks get-token`")
    if "helm" not in providers:
        problems.append("there is no provider helm")
    return problems


def judge_tfvars(folder):
    """terraform.tfvars.example has all variables: those without a default, and the others as comments."""
    variables = named(load(folder)[0], "variable")
    written = (folder / "terraform.tfvars.example").read_text()
    given = set(re.findall(r"^([a-z_]+)\s*=", written, re.M))
    shown = set(re.findall(r"^# ([a-z_]+)\s*=", written, re.M))
    required = {name for name, body in variables.items() if "default" not in body}
    problems = [f"{name} is required and not given" for name in sorted(required - given)]
    problems += [f"{name} is not a variable" for name in sorted((given | shown) - set(variables))]
    problems += [f"{name} is neither given nor shown" for name in sorted(set(variables) - given - shown)]
    for name in sorted(shown & set(variables)):
        value = re.search(rf"^# {name}\s*=\s*(.*)$", written, re.M)[1]
        if text(value) != text(str(variables[name].get("default"))):
            problems.append(f"{name} is shown as {value}, and its default is {variables[name].get('default')}")
    return problems


def judge_take_down(folder, page):
    """The bucket stays: the command of the README names every other module."""
    modules = set(named(load(folder)[0], "module")) - {"bucket"}
    commands = [set(re.findall(r"-target=module\.(\w+)", line)) for line in page.splitlines() if "terraform destroy -target" in line]
    return [] if modules in commands else [f"no `terraform destroy` of README.md names exactly {sorted(modules)}"]


def judge_examples():
    page = (TERRAFORM / "README.md").read_text()
    assert len(EXAMPLES) >= 2, "examples are missing"
    modes = set()
    for folder in EXAMPLES:
        name = folder.relative_to(ROOT)
        blocks, source = load(folder)
        check(f"{name} asks for a token when it connects", judge_token(folder))
        check(f"{name}/terraform.tfvars.example is complete", judge_tfvars(folder))
        backends = [text(kind) for block in blocks["terraform"] for one in block.get("backend", []) for kind in keys(one)]
        state = (folder / "backend.hcl.example").read_text()
        problems = [] if backends == ["s3"] else [f"its backends are {backends}"]
        problems += [f"backend.hcl.example has no {line}" for line in ("encrypt = true", "use_lockfile = true") if line not in re.sub(r" +", " ", state)]
        check(f"{name} keeps its state encrypted and locked", problems)
        check(f"README.md takes down {name} without the bucket", judge_take_down(folder, page))
        wanted = {"bucket", "registry", "role_arn"} | ({"load_balancer", "redis_url"} if "module.redis" in source else set())
        check(f"{name} tells where everything is", [f"no output {one}" for one in sorted(wanted - set(named(blocks, "output")))])
        modes |= set(re.findall(r'mode\s*=\s*"([a-z-]+)"', source))
        redis = named(blocks, "module").get("redis")
        if redis:
            groups = str(redis["client_security_group_ids"])
            check(f"{name} lets nodes with groups of their own reach Redis",
                  [f"{one} is missing" for one in ("cluster_security_group_id", "var.node_security_group_ids") if one not in groups])
    replicas = named(load(TERRAFORM / "modules/redis")[0], "variable")["replicas"]["default"]
    needed = "it needs neither a replica nor a disk" in (ROOT / "docs/production.md").read_text()
    check("Redis has no replica unless one is asked for, as docs/production.md says", [f"{replicas} by default"] if replicas or not needed else [])
    check("an example has IRSA and one has EKS Pod Identity", sorted({"irsa", "pod-identity"} - modes))


def judge_namespaces():
    """The Secret of the users is made where the pods look for it."""
    installed = re.search(r"helm install \S+ \S+ --namespace (\S+)", (ROOT / "docs/kubernetes.md").read_text())[1]
    problems = []
    for folder in EXAMPLES:
        variables = named(load(folder)[0], "variable")
        if text(variables["namespace"]["default"]) != installed:
            problems.append(f"{folder.name} has {variables['namespace']['default']}, and docs/kubernetes.md {installed}")
        secret = text(variables["users_secret"]["default"])
        for path in ("docs/kubernetes.md", "terraform/README.md"):
            if f"kubectl -n {installed} create secret generic {secret} " not in (ROOT / path).read_text():
                problems.append(f"{path} does not make the Secret {secret} in {installed}")
    for path in ("docs/kubernetes.md", "terraform/README.md"):
        made = set(re.findall(r"kubectl create namespace (\S+)", (ROOT / path).read_text()))
        problems += [f"{path} makes the namespace {one}" for one in sorted(made ^ {installed})]
    check("pages and examples have one namespace", problems)


def judge():
    judge_lifecycle()
    judge_versions()
    judge_examples()
    judge_namespaces()
