"""What can be said about terraform/ without a provider. See `run`, which calls it."""
import glob
import os
import re
import sys
from pathlib import Path

import hcl2

import evaluate
import examples
from examples import ROOT, TERRAFORM, load, named, text
from report import asked, check, failures

# What each operation of the SDK has to be allowed. A presigned request is the same operation.
RIGHTS = {
    "get_object": {"s3:GetObject"},
    "head_object": {"s3:GetObject"},
    "put_object": {"s3:PutObject"},
    "create_multipart_upload": {"s3:PutObject"},
    "upload_part": {"s3:PutObject"},
    "complete_multipart_upload": {"s3:PutObject"},
    "abort_multipart_upload": {"s3:AbortMultipartUpload"},
    "list_parts": {"s3:ListMultipartUploadParts"},
    "delete_object": {"s3:DeleteObject"},
    "list_objects_v2": {"s3:ListBucket"},
    "list_multipart_uploads": {"s3:ListBucketMultipartUploads"},
}
OF_THE_BUCKET = {"s3:ListBucket", "s3:ListBucketMultipartUploads"}


def all_operations():
    """Every operation that the SDK has, by the names of its modules."""
    version = re.search(r'name = "aws-sdk-s3"\nversion = "([^"]+)"', (ROOT / "Cargo.lock").read_text())[1]
    home = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
    folders = glob.glob(f"{home}/registry/src/*/aws-sdk-s3-{version}/src/operation")
    if not folders:
        raise SystemExit(f"the sources of aws-sdk-s3 {version} are not there: cargo fetch")
    return {path.stem for path in Path(folders[0]).glob("*.rs")}


def calls():
    """The operations that the code calls, and where."""
    known, found = all_operations(), {}
    assert {"get_object", "create_bucket"} <= known, "the SDK has other names now"
    for path in sorted((ROOT / "src/store/s3").rglob("*.rs")):
        if path.stem == "tests" or "tests" in path.parts:
            continue
        code = re.sub(r"//.*", "", path.read_text())
        for name in re.findall(r"\.\s*([a-z][a-z0-9_]*)\(\)", code):
            if name in known:
                found.setdefault(name, path.relative_to(ROOT))
    return found


def policy_rights():
    with open(TERRAFORM / "modules/policy/main.tf") as file:
        module = hcl2.load(file)
    settled = {}
    for block in module["locals"]:
        settled.update(block)
    return {text(right) for right in settled["object_actions"]}, {text(right) for right in settled["bucket_actions"]}


def documented_rights():
    page = (ROOT / "docs/stores.md").read_text().split("## Permissions")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(s3:[A-Za-z]+)` \|", page, re.M))


def judge_rights():
    found = calls()
    check("each call to S3 has a known right", (f"{name} in {where}: add it to RIGHTS" for name, where in found.items() if name not in RIGHTS))
    needed = set().union(*(RIGHTS.get(name, set()) for name in found))
    objects, bucket = policy_rights()
    check("the policy allows what the code calls", (f"{right} is missing" for right in sorted(needed - objects - bucket)))
    check("the policy allows nothing that the code does not call", (f"{right} is needed by no call" for right in sorted((objects | bucket) - needed)))
    check("rights of the bucket and of objects are told apart", sorted((bucket ^ OF_THE_BUCKET) | (objects & OF_THE_BUCKET)))
    check("docs/stores.md lists the same rights", sorted(documented_rights() ^ needed))


def folders():
    return sorted({path.parent for path in TERRAFORM.rglob("*.tf")})


def judge_names(folder):
    """Every name that is used is declared, and every variable is described and used."""
    blocks, source = load(folder)
    variables, outputs = named(blocks, "variable"), named(blocks, "output")
    names = {
        "var": set(variables),
        "local": {name for block in blocks.get("locals", []) for name in block if not name.startswith("__")},
        "module": {text(name) for block in blocks.get("module", []) for name in block},
    }
    for kind in ("resource", "data"):
        names[kind] = {f"{text(of)}.{text(name)}" for block in blocks.get(kind, []) for of, body in block.items() for name in body}
    problems = []
    for kind in ("var", "local", "module"):
        used = set(re.findall(rf"(?<![\w.\"]){kind}\.([a-z_0-9]+)", source))
        problems += [f"{kind}.{name} is not declared" for name in sorted(used - names[kind])]
        if kind != "module":
            problems += [f"{kind}.{name} is never used" for name in sorted(names[kind] - used)]
    problems += [f"data.{name} is not declared" for name in sorted(set(re.findall(r"(?<![\w.])data\.([a-z_0-9]+\.[a-z_0-9]+)", source)) - names["data"])]
    for name in sorted(set(re.findall(r"(?<![\w.\"/-])((?:aws|kubernetes|helm|random)_[a-z_0-9]+\.[a-z_0-9]+)", source)) - names["resource"]):
        problems.append(f"{name} is not declared")
    for kind, declared in (("variable", variables), ("output", outputs)):
        problems += [f"{kind} {name} has no description" for name, body in declared.items() if "description" not in body]
    problems += [f"variable {name} has no type" for name, body in variables.items() if "type" not in body]
    providers = {name.split("_")[0] for name in names["resource"] | names["data"]}
    required = {text(name) for block in blocks.get("terraform", []) for one in block.get("required_providers", []) for name in one}
    problems += [f"the provider {name} has no version" for name in sorted(providers - required)]
    return variables, outputs, blocks, source, problems


def judge_modules():
    judged = {folder: judge_names(folder) for folder in folders()}
    for folder, (_, _, blocks, source, problems) in judged.items():
        for block in blocks.get("module", []):
            for name, body in block.items():
                name, target = text(name), (folder / text(body["source"])).resolve()
                if target not in judged:
                    problems.append(f"module.{name} is not at {target}")
                    continue
                variables, outputs = judged[target][:2]
                given = {key for key in body if not key.startswith("__")} - {"source", "depends_on", "count", "for_each", "providers"}
                problems += [f"module.{name} has no variable {key}" for key in sorted(given - set(variables))]
                problems += [f"module.{name} needs {key}" for key in sorted(variables) if "default" not in variables[key] and key not in given]
                used = set(re.findall(rf"module\.{name}\.([a-z_0-9]+)", source))
                problems += [f"module.{name} has no output {key}" for key in sorted(used - set(outputs))]
        check(f"the names in {folder.relative_to(ROOT)}", problems)
    assert len(judged) >= 6, "modules are missing"


def judge_bucket():
    """What may never be lost from the bucket."""
    source = (TERRAFORM / "modules/bucket/main.tf").read_text()
    wanted = ["block_public_acls       = true", "block_public_policy     = true", "ignore_public_acls      = true",
              "restrict_public_buckets = true", "apply_server_side_encryption_by_default", "abort_incomplete_multipart_upload",
              "prevent_destroy = true", '"BucketOwnerEnforced"', '"aws:SecureTransport"']
    check("the bucket is closed, encrypted and kept", [f"{words} is missing" for words in wanted if words not in source])


judge_rights()
judge_modules()
judge_bucket()
examples.judge()
evaluate.judge()
print(f"terraform: {len(asked) - len(failures)} passed, {len(failures)} failed")
sys.exit(1 if failures else 0)
