{{/* What is not rendered: what could not start, would be open by accident, or would be ignored. */}}

{{- define "longshore.refuse" -}}
{{- $v := .Values -}}
{{- $config := fromJson (include "longshore.config" .) -}}
{{- $access := default dict $config.access -}}
{{- $given := default dict $v.config -}}

{{- /* The store. */ -}}
{{- if not $v.store.url -}}
{{- fail "store.url is missing: where is everything kept? s3://bucket or s3://bucket/prefix; to try it out, `memory`" -}}
{{- end -}}
{{- if not (include "longshore.shared" .) -}}
{{- if or (gt (int $v.replicas) 1) $v.autoscaling.enabled -}}
{{- fail (printf "store.url %q belongs to one pod: set replicas to 1 and autoscaling.enabled to false, or use a bucket" $v.store.url) -}}
{{- end -}}
{{- end -}}
{{- if and (hasPrefix "/" $v.store.url) (not $v.store.volume) -}}
{{- fail (printf "store.volume is missing: without one, what is in %s ends with the pod" $v.store.url) -}}
{{- end -}}
{{- if and $v.store.volume (not (hasPrefix "/" $v.store.url)) -}}
{{- fail "store.volume is given, and store.url is not a folder" -}}
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
{{- $hasLogin := or $hasHtpasswd $hasToken -}}
{{- if not (or $hasLogin $access.anonymous $rulesAnonymous) -}}
{{- fail "nobody could log in, and nothing says that nobody has to. Give access.htpasswd.existingSecret (and access.authenticated or access.rules), or all of access.token, or say by name that it is open: access.anonymous=pull, or access.anonymous=push for everything" -}}
{{- end -}}
{{- if and $hasHtpasswd (not (or $access.authenticated $access.rules)) -}}
{{- fail "nothing says what users may do: add access.authenticated (pull or push), or access.rules" -}}
{{- end -}}
{{- if and (or $access.authenticated $rulesLogin) (not $hasLogin) -}}
{{- fail "access.authenticated or access.rules speak of callers who logged in, and there is no way to: add access.htpasswd.existingSecret or access.token" -}}
{{- end -}}

{{- /* Two ways to say one thing. */ -}}
{{- if and $v.store.s3.existingSecret (has $v.identity.provider (list "irsa" "pod-identity" "web-identity")) -}}
{{- fail (printf "store.s3.existingSecret goes before identity.provider=%s: choose one" $v.identity.provider) -}}
{{- end -}}
{{- if and $v.store.s3.accessKeyId (not $v.store.s3.existingSecret) -}}
{{- fail "store.s3.accessKeyId needs store.s3.existingSecret with its secret" -}}
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
{{- fail (printf "identity.provider=%s annotates the ServiceAccount, so serviceAccount.create has to be true; or leave the provider out and annotate your own" $v.identity.provider) -}}
{{- end -}}
{{- if eq (kindIs "invalid" $v.podDisruptionBudget.minAvailable) (kindIs "invalid" $v.podDisruptionBudget.maxUnavailable) -}}
{{- fail "podDisruptionBudget: exactly one of minAvailable and maxUnavailable has to be given; set the other one to null" -}}
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
{{- fail (printf "redis.url is given, and redis.mode is %s: set it to external" $v.redis.mode) -}}
{{- end -}}
{{- if and (eq $v.redis.mode "external") (eq $v.redis.topology "sentinel") (not $v.redis.primary) -}}
{{- fail "redis.topology=sentinel needs redis.primary" -}}
{{- end -}}
{{- if regexMatch "://[^/]*@" $v.redis.url -}}
{{- fail "redis.url holds a login, which would stand in a ConfigMap: use redis.username and redis.existingSecret" -}}
{{- end -}}

{{- /* How clients come in. */ -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "ingress.hosts is empty: a registry has a host of its own" -}}
{{- end -}}
{{- if and $v.gateway.enabled (not $v.gateway.parentRefs) -}}
{{- fail "gateway.parentRefs is empty: which Gateway does the route belong to?" -}}
{{- end -}}

{{- /* What `config` must not say: the image's variables go before a file, so it would be ignored; or it
would be readable by everybody who may read ConfigMaps. */ -}}
{{- range $entry := list
  (list "server" "listen" "the chart opens the ports; see listenAddress")
  (list "server" "drain_delay" "use drain.delaySeconds, which the grace period follows")
  (list "server" "drain_timeout" "use drain.timeoutSeconds, which the grace period follows")
  (list "admin" "listen" "the chart opens the ports; see listenAddress")
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
{{- fail (printf "config.store.s3.%s would stand in a ConfigMap: use store.s3.existingSecret" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
