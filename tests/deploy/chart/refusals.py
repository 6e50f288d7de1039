"""What the chart refuses. See `run`."""
from cases import BUCKET, OPEN, PROXY, ARN, refused

refused("nothing_chosen", "", "store.url is missing")
refused("no_store", "access: {anonymous: push}", "store.url is missing")
refused("no_login", BUCKET, "no login is configured, and access.anonymous is empty")
refused("an_empty_token_is_no_login", BUCKET + "config: {access: {token: {}}}", "no login is configured, and access.anonymous is empty")
refused("rules_without_a_login", BUCKET + "access: {rules: [{subject: authenticated, actions: pull, repositories: '**'}]}",
        "no login is configured, and access.anonymous is empty")
refused("rules_of_both_without_a_login", BUCKET + "access: {rules: [{subject: [anonymous, 'user:a'], actions: pull, repositories: '**'}]}",
        "name users, but no login is configured")
refused("users_who_may_do_nothing", BUCKET + "access: {htpasswd: {existingSecret: users}}", "no rule allows users anything")
refused("authenticated_without_a_login", BUCKET + "access: {authenticated: push, anonymous: pull}", "name users, but no login is configured")
refused("half_a_token_server", BUCKET + "access: {token: {realm: 'https://a/token', service: a}}",
        "access.token.issuer, access.token.keys missing")
refused("certificates_of_clients_twice", OPEN + "tls: {existingSecret: a, clients: {existingSecret: a, existingConfigMap: b}}", "not both")
refused("certificates_of_clients_without_tls", OPEN + "tls: {clients: {existingSecret: a}}", "tls.clients needs tls.existingSecret")
refused("certificates_that_may_do_nothing", BUCKET + "tls: {existingSecret: a, clients: {existingSecret: b}}",
        "no rule allows clients with a certificate anything")
refused("token_keys_twice", BUCKET + "access: {token: {realm: a, service: a, issuer: a, keys: {existingSecret: a, existingConfigMap: b}}}", "not both")
refused("a_folder_for_two", "store: {url: /data, volume: {emptyDir: {}}}\naccess: {anonymous: pull}", "belongs to one pod")
refused("memory_that_scales", "store: {url: memory}\nreplicas: 1\nautoscaling: {enabled: true}\naccess: {anonymous: pull}", "belongs to one pod")
refused("a_single_writer_for_two", OPEN + "config: {store: {writers: single}}", "belongs to one pod")
refused("a_folder_without_a_volume", "store: {url: /data}\nreplicas: 1\naccess: {anonymous: pull}", "ends with the pod")
refused("a_volume_for_a_bucket", "store: {url: 's3://b', volume: {emptyDir: {}}}\naccess: {anonymous: pull}", "not a folder")
refused("a_key_and_an_identity", "store: {url: 's3://b', s3: {existingSecret: a}}\naccess: {anonymous: pull}\n"
        f"identity: {{provider: irsa, roleArn: '{ARN}'}}", "choose one")
refused("an_id_without_its_secret", "store: {url: 's3://b', s3: {accessKeyId: a}}\naccess: {anonymous: pull}", "needs store.s3.existingSecret")
refused("irsa_without_a_role", OPEN + "identity: {provider: irsa}", "needs identity.roleArn")
refused("web_identity_without_a_role", OPEN + "identity: {provider: web-identity}", "needs identity.roleArn")
refused("gke_without_an_account", OPEN + "identity: {provider: gke}", "needs identity.gcpServiceAccount")
refused("azure_without_a_client", OPEN + "identity: {provider: azure}", "needs identity.azureClientId")
refused("irsa_on_a_foreign_account", OPEN + f"identity: {{provider: irsa, roleArn: '{ARN}'}}\nserviceAccount: {{create: false, name: a}}",
        "serviceAccount.create must be true")
refused("both_budgets", OPEN + "podDisruptionBudget: {minAvailable: 1}", "exactly one")
refused("no_budget", OPEN + "podDisruptionBudget: {maxUnavailable: null}", "exactly one")
refused("fewer_at_most_than_at_least", OPEN + "autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 2}", "greater than")
refused("scaling_without_a_metric", OPEN + "autoscaling: {enabled: true, targetCPUUtilizationPercentage: null}", "needs a metric")
refused("redis_without_an_address", OPEN + "redis: {mode: external}", "needs redis.url")
refused("an_address_of_no_redis", OPEN + "redis: {url: 'redis://a:1'}", "set it to external")
refused("sentinel_without_a_name", OPEN + "redis: {mode: external, url: 'redis://a:1', topology: sentinel}", "needs redis.primary")
refused("a_password_in_the_address", OPEN + "redis: {mode: external, url: 'redis://u:p@a:1'}", "would be in a ConfigMap")
refused("an_ingress_for_nobody", OPEN + "ingress: {enabled: true}", "ingress.hosts is empty")
refused("a_route_from_nowhere", OPEN + "gateway: {enabled: true}", "gateway.parentRefs is empty")
refused("traefik_over_tls", OPEN + PROXY + "ingress: {enabled: true, hosts: [a.b], controller: traefik}\ntls: {existingSecret: t}", "serversscheme")
refused("a_monitor_that_nothing_lets_in", OPEN + "serviceMonitor: {enabled: true}", "networkPolicy.adminFrom is empty, so Prometheus could not scrape")
refused("alerts_on_what_nothing_scrapes", OPEN + "prometheusRule: {enabled: true}", "the alert LongshoreAllDown would fire")
refused("a_monitor_and_a_rule_for_another_port", OPEN + "serviceMonitor: {enabled: true}\nnetworkPolicy: {extraIngress: [{ports: [{port: 5000}, {port: 5002, endPort: 6000}]}]}",
        "networkPolicy.adminFrom is empty, so Prometheus could not scrape")
refused("a_balancer_that_may_not_probe", OPEN + PROXY + "ingress: {enabled: true, controller: alb, hosts: [a.b]}", "networkPolicy.adminFrom is empty, so the load balancer could not ask")
refused("a_bucket_out_of_reach", OPEN + "networkPolicy: {egress: {enabled: true}}", "networkPolicy.egress.rules is empty, so the pods could not reach the bucket")
refused("an_ingress_that_nobody_trusts", OPEN + "ingress: {enabled: true, hosts: [a.b]}", "trustedProxies is empty: behind an ingress or a gateway")
refused("a_gateway_that_nobody_trusts", OPEN + "gateway: {enabled: true, parentRefs: [{name: g}]}", "trustedProxies is empty: behind an ingress or a gateway")
refused("no_proxy_and_a_proxy", OPEN + "trustedProxies: [none, 10.0.0.0/8]", "trustedProxies: either none, or networks")
refused("every_address_is_a_proxy", OPEN + "trustedProxies: ['::/0']", "every client could forge its address")
refused("every_address_is_a_proxy_without_a_policy", OPEN + "trustedProxies: [0.0.0.0/0]\nnetworkPolicy: {enabled: false, registryFrom: [{podSelector: {}}]}",
        "every client could forge its address")
refused("less_memory_than_the_settings_allow", OPEN + "resources: {limits: {memory: 900Mi}}", "resources.limits.memory=900Mi is less than the 936Mi")
refused("larger_settings_than_memory", OPEN + "resources: {limits: {memory: 1Gi}}\nconfig: {uploads: {buffer_bytes: 1GiB}}", "is less than the 1448Mi")
refused("more_uploads_than_memory", OPEN + "resources: {limits: {memory: 1G}}\nconfig: {uploads: {concurrent_max: 4096}}", "is less than the 1128Mi")
refused("a_variable_larger_than_memory", OPEN + "resources: {limits: {memory: 1Gi}}\nextraEnv: [{name: LONGSHORE_SERVER_RESPONSE_BYTES, value: 1GiB}]", "is less than the 1704Mi")
refused("more_asked_for_than_allowed", OPEN + "resources: {requests: {memory: 3Gi}, limits: {memory: 2Gi}}", "resources.requests.memory=3Gi is more than")
refused("a_limit_that_is_no_size", OPEN + "resources: {limits: {memory: much}}", "resources.limits.memory=much is not a size")
for section, key, words in [
    ("server", "listen", "the chart sets the ports"), ("server", "drain_delay", "drain.delaySeconds"),
    ("server", "drain_timeout", "drain.timeoutSeconds"), ("admin", "listen", "the chart sets the ports"),
    ("store", "url", "use store.url"), ("cache", "redis_password", "redis.existingSecret"),
    ("manifests", "schema1_key", "schema1Key.existingSecret"),
]:
    refused(f"config_{section}_{key}", OPEN + f"config: {{{section}: {{{key}: a}}}}", words)
for key in ("secret_access_key", "session_token"):
    refused(f"config_{key}", OPEN + f"config: {{store: {{s3: {{{key}: a}}}}}}", "would be in a ConfigMap")

# What the schema refuses, before any template.
for name, values in {
    "an_unknown_value": "replicaCount: 3",
    "an_unknown_value_below": "store: {s3: {bucket: b}}",
    "replicas_as_text": "replicas: three",
    "fewer_than_none": "replicas: -1",
    "anonymous_delete": "access: {anonymous: delete}",
    "a_default_of_another_registry": "service: {type: NodePorts}",
    "a_store_of_another_kind": "store: {url: 'gs://bucket'}",
    "a_digest_that_is_none": "image: {digest: latest}",
    "a_rule_without_actions": "access: {rules: [{subject: anonymous}]}",
    "a_rule_with_more": "access: {rules: [{subject: anonymous, actions: pull, allow: true}]}",
    "redis_of_another_kind": "redis: {mode: internal}",
    "a_role_that_is_none": "identity: {provider: irsa, roleArn: longshore}",
    "an_annotation_that_is_no_text": "podAnnotations: {a: true}",
    "a_severity_of_another_name": "prometheusRule: {severities: {critical: page}}",
    "an_empty_severity": "prometheusRule: {severities: {page: ''}}",
    "runbooks_at_no_url": "prometheusRule: {runbookBaseUrl: docs/runbooks}",
    "a_controller_that_is_not_known": "ingress: {controller: nginx}",
    "a_variable_that_is_not_of_tracing": "tracing: {variables: {PATH: a}}",
    "a_negative_delay": "drain: {delaySeconds: -1}",
    "a_setting_that_is_none": "config: {uploads: {part_byte: 16MiB}}",
    "a_section_that_is_none": "config: {upload: {part_bytes: 16MiB}}",
    "a_setting_below_another": "config: {server: {tls: {certificate: a}}}",
}.items():
    # A key that is given twice would be another mistake.
    base = BUCKET if values.startswith("access") else "" if values.startswith("store") else OPEN
    refused(f"schema_{name}", base + values, "values don't meet the specifications of the schema")
