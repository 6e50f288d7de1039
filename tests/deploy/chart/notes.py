"""What `helm install` tells: NOTES.txt, for values that differ. See `run`."""
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from cases import BUCKET, LOGIN, OPEN, PROXY
from render import CHART

INGRESS = "ingress: {enabled: true, hosts: [a.example.com], tls: [{secretName: t, hosts: [a.example.com]}]}\n"
# name | values | words that are told | words that are not
NOTES = [
    ("the_least", LOGIN, ["stores everything in s3://bucket.", "WARNING: these values set up no TLS",
                          "Secrets in the namespace ns: users.", "port-forward service/r-longshore 5000:5000",
                          "helm test r --namespace ns"], ["access.anonymous lets", "trustedProxies", "adminFrom", "resources.requests"]),
    ("all_secrets", LOGIN.replace("'s3://bucket'", "'s3://bucket', s3: {existingSecret: keys}")
     + "tls: {existingSecret: cert, clients: {existingSecret: authorities}}\nredis: {mode: external, url: 'rediss://a:1', existingSecret: word}\nschema1Key: {existingSecret: sign}\n",
     ["The pods wait for these Secrets in the namespace ns: authorities, cert, keys, sign, users, word."], ["set up no TLS"]),
    ("an_image_of_a_registry", LOGIN + "image: {registry: r.example.com}\n", [], ["image.registry"]),
    ("an_image_of_no_registry", LOGIN, ["no image is published, so every node needs longshore:0.1.0 already"], []),
    ("no_secret", OPEN, ["access.anonymous lets everybody who reaches the registry pull and list all repositories"], ["The pods wait for"]),
    ("behind_a_proxy", LOGIN + INGRESS + PROXY, ["Clients reach it at:\n  a.example.com", "WARNING: networkPolicy.registryFrom is empty"],
     ["set up no TLS", "trustedProxies is [none]"]),
    ("behind_a_proxy_alone", LOGIN + INGRESS + PROXY + "networkPolicy: {registryFrom: [{podSelector: {}}]}\n", ["a.example.com"], ["WARNING"]),
    ("behind_no_proxy", LOGIN + INGRESS + "trustedProxies: [none]\n", ["WARNING: trustedProxies is [none]"], ["registryFrom"]),
    ("behind_a_gateway", LOGIN + PROXY + "gateway: {enabled: true, parentRefs: [{name: g}], hostnames: [g.example.com]}\n",
     ["Clients reach it at:\n  g.example.com"], ["set up no TLS"]),
    ("little_memory", LOGIN + "resources: {requests: {memory: 256Mi}}\n", ["WARNING: resources.requests.memory=256Mi", "936Mi"], []),
    ("much_memory", LOGIN + "resources: {requests: {memory: 1Gi}, limits: {memory: 2Gi}}\n", [], ["resources.requests"]),
    ("lost", "store: {url: memory}\nreplicas: 1\naccess: {anonymous: push}\n", ["everything is lost when the pod ends", "push, delete and pull"], ["waits for it"]),
    ("a_bucket_that_is_away", BUCKET + "access: {anonymous: pull}\n", ["A pod that starts while the bucket is away waits for it for 30 seconds"], []),
    ("a_trial_redis", OPEN + "redis: {mode: development}\n", ["one Redis without persistence or TLS, for trials only"], []),
    ("pod_identity", OPEN + "identity: {provider: pod-identity}\n", ["--namespace ns --service-account r-longshore"], []),
]


def notes(values):
    """As `helm install` would print them. Helm shows them only with a cluster, so a copy of the chart has them
    as an object."""
    with tempfile.TemporaryDirectory() as folder:
        chart, given = Path(folder) / "longshore", Path(folder) / "values.yaml"
        shutil.copytree(CHART, chart)
        given.write_text(values)
        text = (chart / "templates/NOTES.txt").read_text()
        (chart / "templates/_notes.tpl").write_text('{{- define "notes" -}}\n' + text + "{{- end -}}\n")
        (chart / "templates/notes.yaml").write_text('text: {{ include "notes" . | toJson }}\n')
        done = subprocess.run(["helm", "template", "r", str(chart), "--namespace", "ns", "--kube-version", "1.37.0",
                               "--show-only", "templates/notes.yaml", "--values", str(given)],
                              capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["text"]


def told(values, wanted, unwanted):
    def look():
        text = notes(values)
        missing = [words for words in wanted if words not in text]
        extra = [words for words in unwanted if words in text]
        assert not missing and not extra, f"without {missing}, with {extra}:\n{text}"
        assert "<no value>" not in text and "\n\n\n" not in text, text
    return look


CASES = [(f"notes_{name}", told(values, wanted, unwanted)) for name, values, wanted, unwanted in NOTES]
