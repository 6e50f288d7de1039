"""What the chart renders for many values, and what it refuses. See `run`, which calls it."""
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

import notes
import pages
import refusals  # noqa: F401 (its cases register themselves)
import resources  # noqa: F401
import start
from cases import ARN, BUCKET, LOGIN, OPEN, PROMETHEUS, PROXY, REFUSED, RENDERED, rendered
from render import LONGSHORE, ROOT, Refused, render

# ---- What is rendered. ----

@rendered(LOGIN)
def the_least_that_is_needed(objects):
    assert objects.kinds() == ["ConfigMap", "Deployment", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Service", "ServiceAccount"]
    deployment = objects.find("Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert objects.container["image"] == "longshore:0.1.0" and objects.container["args"] == ["serve"]
    assert objects.env("LONGSHORE_STORE_URL") == "s3://bucket"
    assert objects.env("LONGSHORE_SERVER_LISTEN") == "0.0.0.0:5000" and objects.env("LONGSHORE_ADMIN_LISTEN") == "0.0.0.0:5001"
    assert objects.env("LONGSHORE_ACCESS_HTPASSWD_FILE") == "/etc/longshore/htpasswd/htpasswd"
    assert objects.toml["access"] == {"authenticated": "push"}
    assert objects.toml["server"] == {"drain_delay": "10s", "drain_timeout": "120s"}
    assert objects.pod["terminationGracePeriodSeconds"] == 135
    for probe, path in {"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": "/livez"}.items():
        assert objects.container[probe]["httpGet"] == {"path": path, "port": "admin"}
    zones = [one["topologyKey"] for one in objects.pod["topologySpreadConstraints"]]
    assert zones == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


@rendered(OPEN)
def open_by_name(objects):
    assert objects.toml["access"] == {"anonymous": "pull"}
    assert objects.volume("htpasswd") is None and objects.volume("s3") is None


@rendered(BUCKET + "config: {access: {anonymous: push}}")
def open_by_name_in_config(objects):
    assert objects.toml["access"] == {"anonymous": "push"}


@rendered(BUCKET + "access: {rules: [{subject: anonymous, repositories: ['public/**', x], actions: [pull]}]}")
def open_by_a_rule(objects):
    assert objects.toml["access"]["rules"] == [{"subject": "anonymous", "repositories": ["public/**", "x"], "actions": ["pull"]}]


@rendered(BUCKET + "access: {token: {realm: 'https://t/token', service: reg, issuer: t, groupsClaim: teams, keys: {existingConfigMap: jwks, key: keys.json}},"
          " rules: [{subject: ['group:dev', 'user:ci'], repositories: 'team/**', actions: [pull, push]}, {subject: authenticated, actions: catalog}]}")
def a_token_server(objects):
    assert objects.toml["access"]["token"] == {"realm": "https://t/token", "service": "reg", "issuer": "t", "groups_claim": "teams"}
    assert objects.env("LONGSHORE_ACCESS_TOKEN_KEYS_FILE") == "/etc/longshore/token/keys"
    assert objects.volume("token")["configMap"] == {"name": "jwks", "items": [{"key": "keys.json", "path": "keys"}]}
    assert len(objects.toml["access"]["rules"]) == 2


@rendered(BUCKET + "access: {token: {realm: /token, service: reg, issuer: t, keys: {existingSecret: keys}}}")
def a_token_server_with_keys_in_a_secret(objects):
    assert objects.volume("token")["secret"]["secretName"] == "keys"


@rendered(LOGIN.replace("'s3://bucket'", "'s3://bucket/p', s3: {endpoint: 'http://minio:9000', publicEndpoint: 'https://s3.example.com', region: eu-central-1, pathStyle: false, existingSecret: c, existingSecretKeys: {accessKeyId: AKI, secretAccessKey: SAK, sessionToken: ST}}"))
def a_bucket_with_a_key(objects):
    assert objects.toml["store"]["s3"] == {"endpoint": "http://minio:9000", "public_endpoint": "https://s3.example.com", "region": "eu-central-1", "path_style": False}
    assert objects.env("LONGSHORE_STORE_S3_ACCESS_KEY_ID") == {"secretKeyRef": {"name": "c", "key": "AKI"}}
    assert objects.env("LONGSHORE_STORE_S3_SECRET_ACCESS_KEY_FILE") == "/etc/longshore/s3/secret-access-key"
    assert objects.env("LONGSHORE_STORE_S3_SESSION_TOKEN_FILE") == "/etc/longshore/s3/session-token"
    assert objects.volume("s3")["secret"]["items"] == [{"key": "SAK", "path": "secret-access-key"}, {"key": "ST", "path": "session-token"}]


@rendered(LOGIN.replace("'s3://bucket'", "'s3://bucket', s3: {accessKeyId: AKIA, existingSecret: c}"))
def a_key_whose_id_is_no_secret(objects):
    assert objects.toml["store"]["s3"]["access_key_id"] == "AKIA"
    assert objects.env("LONGSHORE_STORE_S3_ACCESS_KEY_ID") is None


@rendered(OPEN + "updateStrategy: {type: Recreate}")
def a_strategy_without_a_rolling_update(objects):
    assert objects.find("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


@rendered(OPEN + "updateStrategy: {rollingUpdate: {maxUnavailable: 1}}")
def a_rolling_update_of_another_size(objects):
    assert objects.find("Deployment")["spec"]["strategy"] == {
        "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}


@rendered("store: {url: /data, volume: {persistentVolumeClaim: {claimName: c}}}\nreplicas: 1\naccess: {anonymous: push}")
def a_folder(objects):
    assert objects.find("Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert objects.volume("data")["persistentVolumeClaim"]["claimName"] == "c"
    assert not objects.has("PodDisruptionBudget")


@rendered(OPEN + "replicas: 1\nconfig: {store: {writers: single}}")
def a_single_writer(objects):
    assert objects.find("Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert objects.toml["store"]["writers"] == "single"
    assert not objects.has("PodDisruptionBudget")


@rendered("store: {url: memory}\nreplicas: 1\naccess: {anonymous: push}")
def memory(objects):
    assert objects.env("LONGSHORE_STORE_URL") == "memory" and objects.volume("data") is None


@rendered(LOGIN + "config: {manifests: {tags_per_push_max: 100, bytes_max: 8388608, mode: docker-legacy}, lists: {catalog: false}, store: {s3: {attempts_max: 3}},"
          " uploads: {buffer_bytes: 1GiB}, log: {level: 'info,longshore::store=debug'}, server: {connections_max: 1000000}, cache: null}")
def settings_of_every_type(objects):
    toml = objects.toml
    assert toml["manifests"] == {"tags_per_push_max": 100, "bytes_max": 8388608, "mode": "docker-legacy"}
    assert toml["lists"] == {"catalog": False} and toml["store"] == {"s3": {"attempts_max": 3}}
    # No header of a table that has only tables.
    assert "[store]" not in objects.find("ConfigMap")["data"]["longshore.toml"]
    assert toml["uploads"]["buffer_bytes"] == "1GiB" and toml["log"] == {"format": "json", "level": "info,longshore::store=debug"}
    assert toml["server"] == {"drain_delay": "10s", "drain_timeout": "120s", "connections_max": 1000000}


@rendered("""
store: {url: "s3://b/p"}
config:
  access:
    issuers:
      - {name: ci, url: "https://ci.example", audience: registry.example, required: ["repository=acme/*"]}
access:
  rules: [{subject: "issuer:ci ref=refs/heads/main", repositories: "acme/**", actions: [pull, push]}]
""")
def identity_tokens_are_a_login(objects):
    issuer = {"name": "ci", "url": "https://ci.example", "audience": "registry.example", "required": ["repository=acme/*"]}
    assert objects.toml["access"]["issuers"] == [issuer]


@rendered(LOGIN + """
config:
  quotas:
    - {namespaces: [team-a, "mirror-*"], bytes: 500GiB}
    - {namespaces: "*", bytes: 1000000}
  usage: {interval: 1h}
""")
def quotas_of_namespaces(objects):
    assert objects.toml["quotas"] == [
        {"namespaces": ["team-a", "mirror-*"], "bytes": "500GiB"}, {"namespaces": "*", "bytes": 1000000}]
    assert objects.toml["usage"] == {"interval": "1h"}


@rendered(LOGIN + """
config: {audit_log: {destination: /audit/audit.log, pulls: true}}
extraVolumes: [{name: audit, emptyDir: {}}]
extraVolumeMounts: [{name: audit, mountPath: /audit}]
""")
def an_audit_log_on_a_volume(objects):
    assert objects.toml["audit_log"] == {"destination": "/audit/audit.log", "pulls": True}
    assert objects.volume("audit") == {"name": "audit", "emptyDir": {}}


@rendered(LOGIN + """config: {server: {tls: {key_file: k, certificate_file: "a\\"b\\\\c<&>\\u00fc\\t{{ .Release.Name }}"}}}""")
def texts_that_are_hard_to_write(objects):
    assert objects.toml["server"]["tls"]["certificate_file"] == "a\"b\\c<&>ü\t{{ .Release.Name }}"


@rendered(OPEN + "delivery: auto\nredirectNetworks: ['10.0.0.0/8', 'fd00::/8']")
def delivery_by_network(objects):
    assert objects.toml["blobs"] == {"delivery": "auto", "redirect_networks": ["10.0.0.0/8", "fd00::/8"]}


@rendered(OPEN + "delivery: redirect\nlog: {format: text, level: debug}\ntrustedProxies: ['10.0.0.0/8', 'fd00::/8']")
def typed_settings(objects):
    assert objects.toml["blobs"] == {"delivery": "redirect"} and objects.toml["log"] == {"format": "text", "level": "debug"}
    assert objects.toml["server"]["trusted_proxies"] == ["10.0.0.0/8", "fd00::/8"]


@rendered(OPEN + "drain: {delaySeconds: 0, timeoutSeconds: 600, preStopSeconds: 7, marginSeconds: 3}")
def draining(objects):
    assert objects.pod["terminationGracePeriodSeconds"] == 610
    assert objects.container["lifecycle"] == {"preStop": {"sleep": {"seconds": 7}}}
    assert objects.toml["server"] == {"drain_delay": "0s", "drain_timeout": "600s"}


@rendered(LOGIN + "tls: {existingSecret: cert, existingSecretKeys: {certificate: c.pem, key: k.pem}}\ningress: {enabled: true, controller: ingress-nginx, className: nginx, hosts: [a.example.com, b.example.com], tls: [{secretName: t, hosts: [a.example.com]}]}\n" + PROXY)
def tls_up_to_the_pod(objects):
    assert objects.env("LONGSHORE_SERVER_TLS_CERTIFICATE_FILE") == "/etc/longshore/tls/tls.crt"
    assert objects.volume("tls")["secret"]["items"] == [{"key": "c.pem", "path": "tls.crt"}, {"key": "k.pem", "path": "tls.key"}]
    assert objects.find("Service")["spec"]["ports"][0]["name"] == "https"
    ingress = objects.find("Ingress")
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/backend-protocol"] == "HTTPS"
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["a.example.com", "b.example.com"]
    assert ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] == {"name": "https"}
    test = objects.find("Pod", "-test")["spec"]["containers"][0]["env"]
    assert {"name": "INSECURE", "value": "yes"} in test and test[0]["value"] == "https://r-longshore.ns.svc:5000"


CERTIFICATES = BUCKET + "access: {rules: [{subject: 'certificate:ci', repositories: 'ci/**', actions: [pull]}]}\n"


@rendered(CERTIFICATES + "tls: {existingSecret: cert, clients: {existingSecret: authorities, key: bundle.pem, revocationKey: crl.pem}}\n"
          "config: {server: {tls: {client_certificates: required, client_name: uri}}}")
def certificates_of_clients(objects):
    assert objects.env("LONGSHORE_SERVER_TLS_CLIENT_CA_FILE") == "/etc/longshore/clients/ca.crt"
    assert objects.env("LONGSHORE_SERVER_TLS_CLIENT_CRL_FILE") == "/etc/longshore/clients/ca.crl"
    assert objects.toml["server"]["tls"] == {"client_certificates": "required", "client_name": "uri"}
    secret = objects.volume("clients")["secret"]
    assert secret["secretName"] == "authorities"
    assert secret["items"] == [{"key": "bundle.pem", "path": "ca.crt"}, {"key": "crl.pem", "path": "ca.crl"}]
    assert {"name": "clients", "mountPath": "/etc/longshore/clients", "readOnly": True} in objects.container["volumeMounts"]


@rendered(CERTIFICATES + "tls: {existingSecret: cert, clients: {existingConfigMap: authorities}}")
def certificates_of_clients_in_a_config_map(objects):
    assert objects.env("LONGSHORE_SERVER_TLS_CLIENT_CA_FILE") == "/etc/longshore/clients/ca.crt"
    assert objects.volume("clients")["configMap"] == {"name": "authorities", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    assert objects.env("LONGSHORE_SERVER_TLS_CLIENT_CRL_FILE") is None


for controller, wanted in {
    "none": {},
    "traefik": {},
    "ingress-nginx": {"nginx.ingress.kubernetes.io/proxy-body-size": "0", "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
                      "nginx.ingress.kubernetes.io/proxy-buffering": "off", "nginx.ingress.kubernetes.io/proxy-read-timeout": "300"},
    "nginx-inc": {"nginx.org/client-max-body-size": "0", "nginx.org/proxy-buffering": "false",
                  "nginx.org/location-snippets": "proxy_request_buffering off;"},
    "alb": {"alb.ingress.kubernetes.io/target-type": "ip", "alb.ingress.kubernetes.io/healthcheck-port": "5001",
            "alb.ingress.kubernetes.io/load-balancer-attributes": "idle_timeout.timeout_seconds=300",
            "alb.ingress.kubernetes.io/target-group-attributes": "deregistration_delay.timeout_seconds=130"},
    "haproxy": {"haproxy.org/timeout-server": "300s"},
}.items():
    def ingress_of_a_controller(objects, wanted=wanted):
        annotations = objects.find("Ingress")["metadata"].get("annotations", {})
        assert wanted.items() <= annotations.items(), annotations
        assert bool(wanted) == bool(annotations)
    ingress_of_a_controller.__name__ = f"ingress_of_{controller}"
    rendered(OPEN + PROXY + PROMETHEUS + f"ingress: {{enabled: true, controller: {controller}, hosts: [a.b]}}")(ingress_of_a_controller)


@rendered(OPEN + PROXY + "ingress: {enabled: true, controller: ingress-nginx, hosts: [a.b], annotations: {nginx.ingress.kubernetes.io/proxy-body-size: 5g}, labels: {x: z}}")
def annotations_go_before_those_of_the_controller(objects):
    metadata = objects.find("Ingress")["metadata"]
    assert metadata["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"] == "5g" and metadata["labels"]["x"] == "z"


@rendered(OPEN + PROXY + "gateway: {enabled: true, parentRefs: [{name: g, namespace: infra, sectionName: https}], hostnames: [r.example.com], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: b}]}}]}")
def a_route_of_the_gateway(objects):
    spec = objects.find("HTTPRoute")["spec"]
    assert spec["rules"][0]["timeouts"] == {"request": "0s"} and spec["hostnames"] == ["r.example.com"]
    assert spec["rules"][0]["backendRefs"] == [{"name": "r-longshore", "port": 5000}]


@rendered(OPEN + PROXY + "gateway: {enabled: true, parentRefs: [{name: g}], requestTimeout: ''}")
def a_route_without_a_timeout_of_its_own(objects):
    assert "timeouts" not in objects.find("HTTPRoute")["spec"]["rules"][0]


@rendered(OPEN + "autoscaling: {enabled: true, minReplicas: 3, maxReplicas: 9, targetMemoryUtilizationPercentage: 80,"
          " metrics: [{type: Pods, pods: {metric: {name: longshore_upload_inflight_bytes}, target: {type: AverageValue, averageValue: 200M}}}]}")
def scaling(objects):
    spec = objects.find("HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 9)
    assert [metric["type"] for metric in spec["metrics"]] == ["Resource", "Resource", "Pods"]
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert objects.find("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@rendered(OPEN + "replicas: 1")
def one_pod_has_no_budget(objects):
    assert not objects.has("PodDisruptionBudget")


@rendered(OPEN + "replicas: 1\npodDisruptionBudget: {enabled: 'true', maxUnavailable: null, minAvailable: 50%}")
def a_budget_that_is_asked_for(objects):
    spec = objects.find("PodDisruptionBudget")["spec"]
    assert spec["minAvailable"] == "50%" and "maxUnavailable" not in spec


@rendered(OPEN, "--set", "podDisruptionBudget.enabled=false")
def a_budget_that_is_not_wanted(objects):
    assert not objects.has("PodDisruptionBudget")


@rendered(OPEN + f"identity: {{provider: irsa, roleArn: '{ARN}'}}\nserviceAccount: {{annotations: {{a: b}}, labels: {{c: d}}, name: own}}")
def irsa(objects):
    account = [one for one in objects.all if one["kind"] == "ServiceAccount"][0]
    annotations = account["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/role-arn"] == ARN and annotations["a"] == "b"
    assert annotations["eks.amazonaws.com/sts-regional-endpoints"] == "true"
    assert account["metadata"]["name"] == objects.pod["serviceAccountName"] == "own"
    assert account["automountServiceAccountToken"] is False


@rendered(OPEN + f"identity: {{provider: web-identity, roleArn: '{ARN}', tokenExpirationSeconds: 900}}")
def web_identity(objects):
    assert objects.env("AWS_ROLE_ARN") == ARN
    assert objects.env("AWS_WEB_IDENTITY_TOKEN_FILE") == "/var/run/secrets/longshore/identity/token"
    source = objects.volume("identity")["projected"]["sources"][0]["serviceAccountToken"]
    assert source == {"audience": "sts.amazonaws.com", "expirationSeconds": 900, "path": "token"}


@rendered(OPEN + "identity: {provider: pod-identity}\nserviceAccount: {create: false, name: theirs}")
def pod_identity(objects):
    assert not objects.has("ServiceAccount") and objects.pod["serviceAccountName"] == "theirs"


@rendered(OPEN + "identity: {provider: azure, azureClientId: c}")
def azure(objects):
    assert objects.find("ServiceAccount")["metadata"]["annotations"]["azure.workload.identity/client-id"] == "c"
    assert objects.find("Deployment")["spec"]["template"]["metadata"]["labels"]["azure.workload.identity/use"] == "true"


@rendered(OPEN + "identity: {provider: gke, gcpServiceAccount: a@p.iam.gserviceaccount.com}")
def gke(objects):
    assert objects.find("ServiceAccount")["metadata"]["annotations"]["iam.gke.io/gcp-service-account"] == "a@p.iam.gserviceaccount.com"


@rendered(OPEN + "redis: {mode: external, url: 'rediss://a:1,rediss://b:1', topology: sentinel, primary: main, username: u, existingSecret: s, key: k, prefix: p}\ncaBundle: {existingConfigMap: ca, key: bundle.pem}")
def redis_outside(objects):
    assert objects.toml["cache"] == {"redis": "rediss://a:1,rediss://b:1", "redis_topology": "sentinel", "redis_primary": "main",
                                     "redis_username": "u", "redis_prefix": "p"}
    assert objects.env("LONGSHORE_CACHE_REDIS_PASSWORD_FILE") == "/etc/longshore/redis/password"
    assert objects.volume("redis")["secret"]["items"] == [{"key": "k", "path": "password"}]
    assert objects.env("SSL_CERT_FILE") == "/etc/longshore/ca/ca.crt"
    assert len([one for one in objects.all if one["kind"] == "Deployment"]) == 1


@rendered(OPEN + "redis: {mode: development}")
def redis_for_development(objects):
    assert objects.toml["cache"] == {"redis": "redis://r-longshore-redis:6379"}
    pod = objects.find("Deployment", "-redis")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "redis:7.2"
    secret = objects.find("Secret", "-redis")["stringData"]
    password = secret["redis-password"]
    assert len(password) == 40 and password.isalnum()
    assert secret["redis.conf"] == f"requirepass {password}\n"
    assert password not in str(objects.toml) and password not in str(pod)
    assert pod["volumes"][0]["secret"]["items"] == [{"key": "redis.conf", "path": "redis.conf"}]
    assert objects.env("LONGSHORE_CACHE_REDIS_PASSWORD_FILE") == "/etc/longshore/redis/password"
    assert objects.volume("redis")["secret"]["items"] == [{"key": "redis-password", "path": "password"}]
    # It must never be taken for one of ours.
    labels = objects.find("Deployment", "-redis")["spec"]["template"]["metadata"]["labels"]
    assert not objects.find("Service")["spec"]["selector"].items() <= labels.items()
    assert objects.find("Service", "-redis")["spec"]["selector"].items() <= labels.items()


@rendered(OPEN + "schema1Key: {existingSecret: s, key: signing.pem}")
def a_key_for_schema_1(objects):
    assert objects.env("LONGSHORE_MANIFESTS_SCHEMA1_KEY_FILE") == "/etc/longshore/schema1/key.pem"
    assert objects.volume("schema1")["secret"]["items"] == [{"key": "signing.pem", "path": "key.pem"}]


@rendered(OPEN + "tracing: {endpoint: 'http://otel:4317', variables: {OTEL_TRACES_SAMPLER: always_on}}")
def tracing(objects):
    assert objects.env("OTEL_EXPORTER_OTLP_ENDPOINT") == "http://otel:4317" and objects.env("OTEL_TRACES_SAMPLER") == "always_on"
    assert objects.env("OTEL_SERVICE_NAME") == "r-longshore"
    assert objects.env("OTEL_RESOURCE_ATTRIBUTES") == "k8s.namespace.name=ns,k8s.pod.name=$(POD_NAME)"


@rendered(OPEN + PROMETHEUS + "serviceMonitor: {enabled: true, namespace: monitoring, labels: {release: prometheus}, interval: 15s, relabelings: [{action: labeldrop, regex: pod}], metricRelabelings: [{action: keep, sourceLabels: [__name__], regex: 'longshore_.*'}]}")
def a_service_monitor(objects):
    monitor = objects.find("ServiceMonitor")
    assert monitor["metadata"]["namespace"] == "monitoring" and monitor["metadata"]["labels"]["release"] == "prometheus"
    admin = objects.find("Service", "-admin")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= admin["metadata"]["labels"].items()
    assert not monitor["spec"]["selector"]["matchLabels"].items() <= objects.find("Service")["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == admin["spec"]["ports"][0]["name"]
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["ns"]}


@rendered(OPEN + PROMETHEUS + "prometheusRule: {enabled: true, labels: {role: alerts}, disabled: [LongshoreDown], extraRules: [{alert: Mine, expr: vector(1)}]}")
def alerts(objects):
    rules = objects.find("PrometheusRule")["spec"]["groups"][0]["rules"]
    names = [rule["alert"] for rule in rules]
    assert "LongshoreAbsent" in names and "LongshoreDown" not in names and names[-1] == "Mine"
    for rule in rules[:-1]:
        metrics = re.findall(r"\b(?:up|longshore_\w+)(.{0,45})", rule["expr"], re.DOTALL)
        assert metrics and all(rest.startswith('{namespace="ns",service="r-longshore-admin"') for rest in metrics), rule["expr"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
        assert {"summary", "description"} <= rule["annotations"].keys()
    if shutil.which("promtool"):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": objects.find("PrometheusRule")["spec"]["groups"]}, file)
            file.flush()
            done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@rendered(OPEN + PROMETHEUS + "prometheusRule: {enabled: true, severities: {page: critical, ticket: warning}, runbookBaseUrl: 'https://git.example.com/l/docs/runbooks/'}")
def alerts_for_the_routes_of_kube_prometheus(objects):
    shipped = yaml.safe_load(Path("deploy/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    rules = objects.find("PrometheusRule")["spec"]["groups"][0]["rules"]
    mapped = {"page": "critical", "ticket": "warning"}
    assert [(rule["alert"], mapped[rule["labels"]["severity"]], rule.get("for")) for rule in shipped] == [
        (rule["alert"], rule["labels"]["severity"], rule.get("for")) for rule in rules]
    for rule in rules:
        assert rule["annotations"]["runbook_url"] == f"https://git.example.com/l/docs/runbooks/{rule['alert']}.md"


@rendered(OPEN + "grafanaDashboards: {enabled: true, namespace: monitoring, labels: {team: a}, annotations: {grafana_folder: Longshore}}")
def dashboards(objects):
    rendered_map = objects.find("ConfigMap", "-dashboards")
    metadata = rendered_map["metadata"]
    assert metadata["namespace"] == "monitoring" and metadata["annotations"] == {"grafana_folder": "Longshore"}
    assert metadata["labels"]["grafana_dashboard"] == "1" and metadata["labels"]["team"] == "a"
    made = {path.name: path.read_text() for path in (ROOT / "deploy/grafana/dashboards").iterdir()}
    assert len(made) == 5 and rendered_map["data"] == made, "the chart has other dashboards than deploy/grafana"


@rendered(OPEN)
def no_dashboards_by_default(objects):
    names = [one["metadata"]["name"] for one in objects.all if one["kind"] == "ConfigMap"]
    assert objects.name in names and not any(name.endswith("-dashboards") for name in names), names


@rendered(OPEN + "image: {registry: reg.example.com, repository: a/longshore, tag: v9, digest: 'sha256:" + "a" * 64 + "', pullPolicy: Always}\nimagePullSecrets: [{name: p}]")
def an_image_by_digest(objects):
    assert objects.container["image"] == "reg.example.com/a/longshore@sha256:" + "a" * 64
    assert objects.pod["imagePullSecrets"] == [{"name": "p"}] and objects.container["imagePullPolicy"] == "Always"


@rendered(OPEN + "service: {type: LoadBalancer, port: 443, nodePort: 30500, loadBalancerClass: c, loadBalancerSourceRanges: [10.0.0.0/8], externalTrafficPolicy: Local, trafficDistribution: PreferClose, ipFamilyPolicy: PreferDualStack, annotations: {a: b}, labels: {c: d}}\nlistenAddress: '[::]'")
def a_load_balancer(objects):
    service = objects.find("Service")
    assert service["spec"]["type"] == "LoadBalancer" and service["spec"]["ports"][0]["nodePort"] == 30500
    assert service["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"] and service["spec"]["trafficDistribution"] == "PreferClose"
    assert service["metadata"]["annotations"] == {"a": "b"} and service["metadata"]["labels"]["c"] == "d"
    assert objects.env("LONGSHORE_SERVER_LISTEN") == "[::]:5000"


EXTRAS = OPEN + """
commonLabels: {team: a}
commonAnnotations: {owner: b}
deploymentLabels: {d: e}
deploymentAnnotations: {f: g}
podLabels: {h: i, app.kubernetes.io/instance: other}
podAnnotations: {j: k}
extraEnv: [{name: A, value: "{{ .Release.Name }}"}, {name: LONGSHORE_LOG_LEVEL, value: debug}]
extraEnvFrom: [{secretRef: {name: more}}]
extraArgs: [--delivery, proxy]
extraVolumes: [{name: scratch, emptyDir: {}}]
extraVolumeMounts: [{name: scratch, mountPath: /scratch}]
extraContainers: [{name: sidecar, image: "b:1"}]
initContainers: [{name: first, image: "c:1", restartPolicy: Always}]
extraObjects:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: "{{ .Release.Name }}-more", namespace: ns, labels: {app.kubernetes.io/instance: r}}}
  - |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: text, namespace: ns, labels: {app.kubernetes.io/instance: "{{ .Release.Name }}"}}
nodeSelector: {kubernetes.io/arch: amd64}
tolerations: [{operator: Exists}]
affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
priorityClassName: high
runtimeClassName: gvisor
schedulerName: mine
dnsPolicy: None
dnsConfig: {nameservers: [1.1.1.1]}
hostAliases: [{ip: 10.0.0.1, hostnames: [minio]}]
topologySpreadConstraints: [{maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}}]
test: {enabled: false}
"""


@rendered(EXTRAS)
def extra_everything(objects):
    deployment = objects.find("Deployment")
    template = deployment["spec"]["template"]
    assert deployment["metadata"]["labels"]["d"] == "e" and deployment["metadata"]["annotations"] == {"f": "g", "owner": "b"}
    assert template["metadata"]["labels"]["h"] == "i" and template["metadata"]["labels"]["app.kubernetes.io/instance"] == "r"
    assert template["metadata"]["annotations"]["j"] == "k" and template["metadata"]["labels"]["team"] == "a"
    assert all(one["metadata"]["labels"]["team"] == "a" for one in objects.all if one["kind"] == "Service")
    assert objects.env("A") == "r" and objects.env("LONGSHORE_LOG_LEVEL") == "debug"
    assert objects.container["envFrom"] == [{"secretRef": {"name": "more"}}] and objects.container["args"] == ["serve", "--delivery", "proxy"]
    assert [one["name"] for one in objects.pod["containers"]] == ["longshore", "sidecar"]
    assert objects.pod["initContainers"][0]["name"] == "first"
    assert objects.pod["topologySpreadConstraints"] == [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"a": "b"}}}]
    names = [one["metadata"]["name"] for one in objects.all if one["kind"] == "ConfigMap"]
    assert "r-more" in names and "text" in names and not objects.has("Pod")
    for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "runtimeClassName", "schedulerName", "dnsPolicy", "dnsConfig", "hostAliases"):
        assert objects.pod[field], field


@rendered(OPEN + "fullnameOverride: " + "n" * 60)
def a_long_name(objects):
    assert objects.name == "n" * 52


@rendered(LOGIN + "test: {image: 'i:1', existingSecret: l, existingSecretKeys: {username: u, password: p}, repository: a/b, runAsUser: 1000}")
def the_test_logs_in(objects):
    pod = objects.find("Pod", "-test")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert {"name": "LOGIN", "value": "/login"} in pod["spec"]["containers"][0]["env"]
    assert [one["key"] for one in pod["spec"]["volumes"][2]["secret"]["items"]] == ["u", "p"]


CHECKSUM = "checksum/config"


def checksum_follows_the_file():
    """Another file is another checksum; what the file does not hold changes nothing."""
    def checksum(values):
        return render(values).find("Deployment")["spec"]["template"]["metadata"]["annotations"][CHECKSUM]
    first = checksum(OPEN)
    assert checksum(OPEN + "config: {lists: {page_max: 10}}") != first
    assert checksum(OPEN + "replicas: 4") == first


def run_case(case):
    name, function = case
    try:
        function()
        return name, None
    except AssertionError as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        return name, f"{error or line.line} ({line.filename.rsplit('/', 1)[-1]}:{line.lineno})"
    except Exception as error:  # Whatever went wrong, the other cases are asked, too.
        return name, f"{type(error).__name__}: {str(error)[:1500]}"


def main():
    def expect_refusal(values, message):
        def ask():
            try:
                render(values)
            except Refused as error:
                assert message in str(error), f"refused with other words: {error}"
            else:
                raise AssertionError("it was rendered")
        return ask

    cases = [(name, expect_refusal(values, message)) for name, values, message in REFUSED]
    cases += [(name, lambda values=values, arguments=arguments, look=look: look(render(values, *arguments)))
              for name, values, arguments, look in RENDERED]
    cases.append(("checksum_follows_the_file", checksum_follows_the_file))
    # The start first, because it takes half a minute.
    cases = start.CASES + cases + notes.CASES + pages.CASES
    assert len({name for name, _ in cases}) == len(cases), "two cases have one name"
    if sys.argv[1:]:
        cases = [case for case in cases if any(word in case[0] for word in sys.argv[1:])]
    started, failed = time.monotonic(), 0
    with ThreadPoolExecutor(2) as pool:
        for name, problem in pool.map(run_case, cases):
            if problem:
                failed += 1
                print(f"FAILED {name}: {problem}")
            else:
                print(f"ok {name}")
    if not shutil.which("promtool"):
        print("not run promtool on the alerts: it is not installed")
    if not LONGSHORE.exists():
        print(f"not run whether Longshore takes the settings, and how it starts: there is no {LONGSHORE}")
    print(f"{time.monotonic() - started:.0f} s")
    print(f"chart: {len(cases) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
