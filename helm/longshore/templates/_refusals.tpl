{{/* Fails for values that could not start, would open the registry by accident, or would be ignored. */}}

{{- define "longshore.refuse" -}}
{{- $v := .Values -}}
{{- $config := fromJson (include "longshore.config" .) -}}
{{- $access := default dict $config.access -}}
{{- $given := default dict $v.config -}}

{{- /* The store. */ -}}
{{- if not $v.store.url -}}
{{- fail "store.url is missing: set it to s3://bucket or s3://bucket/prefix, or to `memory` for a trial" -}}
{{- end -}}
{{- if not (include "longshore.shared" .) -}}
{{- if or (gt (int $v.replicas) 1) $v.autoscaling.enabled -}}
{{- fail (printf "store.url %q belongs to one pod: set replicas to 1 and autoscaling.enabled to false, or use a bucket without config.store.writers=single" $v.store.url) -}}
{{- end -}}
{{- end -}}
{{- if and (hasPrefix "/" $v.store.url) (not $v.store.volume) -}}
{{- fail (printf "store.volume is missing: without a volume, the content of %s ends with the pod" $v.store.url) -}}
{{- end -}}
{{- if and $v.store.volume (not (hasPrefix "/" $v.store.url)) -}}
{{- fail "store.volume is set, but store.url is not a folder" -}}
{{- end -}}

{{- /* Who may do what. */ -}}
{{- $rulesAnonymous := false -}}
{{- $rulesLogin := false -}}
{{- range $rule := default list $access.rules -}}
{{- range $subject := ternary (list $rule.subject) $rule.subject (kindIs "string" $rule.subject) -}}
{{- if eq $subject "anonymous" -}}{{- $rulesAnonymous = true -}}{{- else -}}{{- $rulesLogin = true -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $token := default dict $access.token -}}
{{- $tokenKeys := or $v.access.token.keys.existingSecret $v.access.token.keys.existingConfigMap $token.keys_file -}}
{{- if and $v.access.token.keys.existingSecret $v.access.token.keys.existingConfigMap -}}
{{- fail "access.token.keys: existingSecret or existingConfigMap, not both" -}}
{{- end -}}
{{- $tokenParts := list -}}
{{- range $name, $there := dict "access.token.realm" $token.realm "access.token.service" $token.service "access.token.issuer" $token.issuer "access.token.keys" $tokenKeys -}}
{{- if not $there -}}{{- $tokenParts = append $tokenParts $name -}}{{- end -}}
{{- end -}}
{{- $hasToken := empty $tokenParts -}}
{{- if and (not $hasToken) (lt (len $tokenParts) 4) -}}
{{- fail (printf "the token server is incomplete: %s missing" (join ", " $tokenParts)) -}}
{{- end -}}
{{- $hasHtpasswd := or $v.access.htpasswd.existingSecret $access.htpasswd_file -}}
{{- $clients := $v.tls.clients -}}
{{- $tls := default dict (default dict $config.server).tls -}}
{{- $hasCertificates := or $clients.existingSecret $clients.existingConfigMap $tls.client_ca_file -}}
{{- if and $clients.existingSecret $clients.existingConfigMap -}}
{{- fail "tls.clients: existingSecret or existingConfigMap, not both" -}}
{{- end -}}
{{- if and $hasCertificates (not (or $v.tls.existingSecret $tls.certificate_file)) -}}
{{- fail "tls.clients needs tls.existingSecret: clients show their certificates only where TLS ends" -}}
{{- end -}}
{{- $hasLogin := or $hasHtpasswd $hasToken $hasCertificates $access.issuers -}}
{{- if not (or $hasLogin $access.anonymous $rulesAnonymous) -}}
{{- fail "no login is configured, and access.anonymous is empty. Set access.htpasswd.existingSecret (and access.authenticated or access.rules), or all of access.token, or config.access.issuers, or open the registry to everybody: access.anonymous=pull, or access.anonymous=push for everything" -}}
{{- end -}}
{{- if and $hasCertificates (not (or $access.anonymous $access.authenticated $access.rules)) -}}
{{- fail "no rule allows clients with a certificate anything: set access.authenticated (pull or push), or access.rules" -}}
{{- end -}}
{{- if and $hasHtpasswd (not (or $access.authenticated $access.rules)) -}}
{{- fail "no rule allows users anything: set access.authenticated (pull or push), or access.rules" -}}
{{- end -}}
{{- if and (or $access.authenticated $rulesLogin) (not $hasLogin) -}}
{{- fail "access.authenticated or access.rules name users, but no login is configured: set access.htpasswd.existingSecret, access.token, config.access.issuers or tls.clients" -}}
{{- end -}}

{{- /* Contradictions. */ -}}
{{- if and $v.store.s3.existingSecret (has $v.identity.provider (list "irsa" "pod-identity" "web-identity")) -}}
{{- fail (printf "store.s3.existingSecret would override identity.provider=%s: choose one" $v.identity.provider) -}}
{{- end -}}
{{- if and $v.store.s3.accessKeyId (not $v.store.s3.existingSecret) -}}
{{- fail "store.s3.accessKeyId needs store.s3.existingSecret with the secret key" -}}
{{- end -}}
{{- if and (has $v.identity.provider (list "irsa" "web-identity")) (not $v.identity.roleArn) -}}
{{- fail (printf "identity.provider=%s needs identity.roleArn" $v.identity.provider) -}}
{{- end -}}
{{- if and (eq $v.identity.provider "gke") (not $v.identity.gcpServiceAccount) -}}
{{- fail "identity.provider=gke needs identity.gcpServiceAccount" -}}
{{- end -}}
{{- if and (eq $v.identity.provider "azure") (not $v.identity.azureClientId) -}}
{{- fail "identity.provider=azure needs identity.azureClientId" -}}
{{- end -}}
{{- if and (has $v.identity.provider (list "irsa" "gke" "azure")) (not $v.serviceAccount.create) -}}
{{- fail (printf "identity.provider=%s annotates the ServiceAccount, so serviceAccount.create must be true; or leave the provider empty and annotate your own ServiceAccount" $v.identity.provider) -}}
{{- end -}}
{{- if eq (kindIs "invalid" $v.podDisruptionBudget.minAvailable) (kindIs "invalid" $v.podDisruptionBudget.maxUnavailable) -}}
{{- fail "podDisruptionBudget: set exactly one of minAvailable and maxUnavailable, and the other one to null" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (kindIs "invalid" $v.autoscaling.targetCPUUtilizationPercentage) (kindIs "invalid" $v.autoscaling.targetMemoryUtilizationPercentage) (not $v.autoscaling.metrics) -}}
{{- fail "autoscaling needs a metric: a target for CPU or memory, or autoscaling.metrics" -}}
{{- end -}}

{{- /* Redis. */ -}}
{{- if and (eq $v.redis.mode "external") (not $v.redis.url) -}}
{{- fail "redis.mode=external needs redis.url" -}}
{{- end -}}
{{- if and (ne $v.redis.mode "external") $v.redis.url -}}
{{- fail (printf "redis.url is set, but redis.mode is %s: set it to external" $v.redis.mode) -}}
{{- end -}}
{{- if and (eq $v.redis.mode "external") (eq $v.redis.topology "sentinel") (not $v.redis.primary) -}}
{{- fail "redis.topology=sentinel needs redis.primary" -}}
{{- end -}}
{{- if regexMatch "://[^/]*@" $v.redis.url -}}
{{- fail "redis.url contains a password, which would be in a ConfigMap: use redis.username and redis.existingSecret" -}}
{{- end -}}

{{- /* Ingress and gateway. */ -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "ingress.hosts is empty: a registry needs a host of its own" -}}
{{- end -}}
{{- if and $v.gateway.enabled (not $v.gateway.parentRefs) -}}
{{- fail "gateway.parentRefs is empty: which Gateway does the route belong to?" -}}
{{- end -}}

{{- /* Settings that `config` must not have: the variables of the image override the file, so they would be
ignored; or everybody who may read ConfigMaps could read them. */ -}}
{{- range $entry := list
  (list "server" "listen" "the chart sets the ports; see listenAddress")
  (list "server" "drain_delay" "use drain.delaySeconds, from which the chart computes the grace period")
  (list "server" "drain_timeout" "use drain.timeoutSeconds, from which the chart computes the grace period")
  (list "admin" "listen" "the chart sets the ports; see listenAddress")
  (list "store" "url" "use store.url")
  (list "cache" "redis_password" "use redis.existingSecret")
  (list "manifests" "schema1_key" "use schema1Key.existingSecret") -}}
{{- $section := default dict (get $given (index $entry 0)) -}}
{{- if hasKey $section (index $entry 1) -}}
{{- fail (printf "config.%s.%s: %s" (index $entry 0) (index $entry 1) (index $entry 2)) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "secret_access_key" "session_token" -}}
{{- if hasKey (default dict (default dict $given.store).s3) $name -}}
{{- fail (printf "config.store.s3.%s would be in a ConfigMap: use store.s3.existingSecret" $name) -}}
{{- end -}}
{{- end -}}
{{- include "longshore.refuseReach" . -}}
{{- include "longshore.refuseMemory" . -}}
{{- end -}}
