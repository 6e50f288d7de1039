"""What the chart derives: memory from the settings, nodes for the pods, who reaches which port. See `run`."""
import re

from cases import LOGIN, OPEN, rendered
from render import ROOT


@rendered(LOGIN)
def pods_on_different_nodes(objects):
    zone, node = objects.pod["topologySpreadConstraints"]
    assert zone["whenUnsatisfiable"] == "ScheduleAnyway"
    assert node["whenUnsatisfiable"] == "DoNotSchedule" and node["maxSkew"] == 1
    # Else a tainted control plane would be an empty node, and the second pod of a small cluster would wait for it.
    assert node["nodeTaintsPolicy"] == "Honor"
    # And so would each pod of a new version, for those of the former one.
    assert node["matchLabelKeys"] == ["pod-template-hash"] and node["labelSelector"]["matchLabels"]


def mib(text):
    return int(re.fullmatch(r"([0-9]+)Mi", text)[1])


def default_of(setting):
    """A default of the program, from the page that it writes: a number, or MiB."""
    page = (ROOT / "docs/configuration.md").read_text()
    (found,) = re.findall(rf'^#{setting} = "?([0-9]+)(?:MiB)?"?$', page, re.M)
    return int(found)


@rendered(LOGIN)
def memory_for_what_the_settings_allow(objects):
    resources = objects.container["resources"]
    needed = sum(default_of(one) for one in ("buffer_bytes", "response_bytes", "local_bytes")) + default_of("concurrent_max") * 64 // 1024 + 40
    assert mib(resources["requests"]["memory"]) == needed and resources["requests"]["cpu"] == "250m"
    assert resources["limits"] == {"memory": "1024Mi"} and needed < 1024
    # The pages have the same number.
    assert f"the most that a process should take, {needed} MiB by default" in (ROOT / "docs/production.md").read_text()


@rendered(LOGIN + "config: {uploads: {buffer_bytes: 2GiB, concurrent_max: 100}, cache: {local_bytes: 0}, server: {response_bytes: 104857600}}\nresources: {requests: {cpu: 1}}")
def memory_for_larger_settings(objects):
    resources = objects.container["resources"]
    assert mib(resources["requests"]["memory"]) == 2048 + 7 + 100 + 40 and resources["requests"]["cpu"] == 1
    assert mib(resources["limits"]["memory"]) == 2432


@rendered(LOGIN + "extraEnv: [{name: LONGSHORE_UPLOADS_BUFFER_BYTES, value: 64MiB}]")
def memory_for_a_variable(objects):
    assert mib(objects.container["resources"]["requests"]["memory"]) == 936 - 512 + 64


@rendered(LOGIN + "resources: {requests: {cpu: 10m, memory: 64Mi}, limits: {memory: 2G, cpu: 2, ephemeral-storage: 1Gi}}")
def memory_that_is_chosen(objects):
    assert objects.container["resources"] == {"requests": {"cpu": "10m", "memory": "64Mi"},
                                              "limits": {"memory": "2G", "cpu": 2, "ephemeral-storage": "1Gi"}}


@rendered(OPEN + "trustedProxies: [none]\ningress: {enabled: true, hosts: [a.b]}")
def no_proxy_by_choice(objects):
    assert "trusted_proxies" not in objects.toml["server"] and objects.has("Ingress")


@rendered(OPEN + "config: {server: {trusted_proxies: [10.0.0.0/8]}}\ningress: {enabled: true, hosts: [a.b]}")
def proxies_among_the_settings(objects):
    assert objects.toml["server"]["trusted_proxies"] == ["10.0.0.0/8"]


@rendered(OPEN + "extraEnv: [{name: LONGSHORE_SERVER_TRUSTED_PROXIES, value: 10.0.0.0/8}]\ngateway: {enabled: true, parentRefs: [{name: g}]}")
def proxies_in_a_variable(objects):
    assert objects.has("HTTPRoute")


@rendered(OPEN + "trustedProxies: [0.0.0.0/0]\nnetworkPolicy: {registryFrom: [{podSelector: {matchLabels: {app: proxy}}}]}")
def any_proxy_behind_a_policy(objects):
    assert objects.toml["server"]["trusted_proxies"] == ["0.0.0.0/0"]


@rendered(OPEN + "networkPolicy: {registryFrom: [{namespaceSelector: {}}], adminFrom: [{podSelector: {matchLabels: {app: prometheus}}}],"
          " extraIngress: [{ports: [{port: 1}]}], egress: {enabled: true, rules: [{ports: [{port: 443}]}]}}\nredis: {mode: development}")
def who_reaches_whom(objects):
    spec = objects.find("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"] and len(spec["ingress"]) == 3 and len(spec["egress"]) == 3
    peers = spec["ingress"][0]["from"]
    assert peers[0] == {"namespaceSelector": {}} and len(peers) == 2
    # The pod of `helm test` gets in as well.
    test = objects.find("Pod", "-test")["metadata"]["labels"]
    assert peers[1]["podSelector"]["matchLabels"].items() <= test.items()
    assert not peers[1]["podSelector"]["matchLabels"].items() <= objects.find("Deployment", "-redis")["spec"]["template"]["metadata"]["labels"].items()
    redis = objects.find("NetworkPolicy", "-redis")["spec"]
    assert redis["ingress"][0]["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "registry"


@rendered(OPEN)
def the_admin_port_is_closed(objects):
    ingress = objects.find("NetworkPolicy")["spec"]["ingress"]
    assert ingress == [{"ports": [{"port": "registry", "protocol": "TCP"}]}]


@rendered(OPEN + "networkPolicy: {registryFrom: [{namespaceSelector: {}}]}\ntest: {enabled: false}")
def a_policy_without_the_test(objects):
    assert objects.find("NetworkPolicy")["spec"]["ingress"][0]["from"] == [{"namespaceSelector": {}}]


@rendered(OPEN + "networkPolicy: {enabled: false}\nserviceMonitor: {enabled: true}")
def no_policy(objects):
    assert not objects.has("NetworkPolicy") and objects.has("ServiceMonitor")


for name, rule in {"every_port": "{from: [{podSelector: {}}]}", "its_name": "{ports: [{port: admin}]}", "a_range": "{ports: [{port: 5000, endPort: 5010}]}"}.items():
    def a_monitor_let_in(objects):
        assert objects.has("ServiceMonitor")
    a_monitor_let_in.__name__ = f"a_monitor_let_in_by_{name}"
    rendered(OPEN + f"serviceMonitor: {{enabled: true}}\nnetworkPolicy: {{extraIngress: [{rule}]}}")(a_monitor_let_in)
