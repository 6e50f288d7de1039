{{/* Who reaches which port, and whom Longshore believes about addresses of clients. */}}

{{/* Not empty if the NetworkPolicy lets something in to the admin port. */}}
{{- define "longshore.adminReachable" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if or (not $policy.enabled) $policy.adminFrom -}}yes{{- end -}}
{{- range $policy.extraIngress -}}
{{- if not .ports -}}yes{{- end -}}
{{- range .ports -}}
{{- $first := toString .port -}}
{{- if or (kindIs "invalid" .port) (has $first (list "admin" "5001")) (and .endPort (le (int .port) 5001) (ge (int .endPort) 5001)) -}}yes{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Not empty if trusted proxies are named in another place than trustedProxies. */}}
{{- define "longshore.proxiesElsewhere" -}}
{{- if (default dict (default dict .Values.config).server).trusted_proxies -}}yes{{- end -}}
{{- range .Values.extraEnv -}}{{- if eq .name "LONGSHORE_SERVER_TRUSTED_PROXIES" -}}yes{{- end -}}{{- end -}}
{{- end -}}

{{- define "longshore.refuseReach" -}}
{{- $v := .Values -}}
{{- $reachable := include "longshore.adminReachable" . -}}
{{- $escape := "or set networkPolicy.enabled=false where the network plugin enforces no policies" -}}
{{- if and (or $v.serviceMonitor.enabled $v.prometheusRule.enabled) (not $reachable) -}}
{{- fail (printf "networkPolicy.adminFrom is empty, so Prometheus could not scrape the admin port, and the alert LongshoreAllDown would fire although the registry works: name the pods of Prometheus, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}], %s" $escape) -}}
{{- end -}}
{{- if and $v.ingress.enabled (eq $v.ingress.controller "alb") (not $reachable) -}}
{{- fail (printf "networkPolicy.adminFrom is empty, so the load balancer could not ask the admin port whether a pod is ready, and would send it nothing: name the subnets of the load balancer, such as [{ipBlock: {cidr: 10.0.0.0/24}}], %s" $escape) -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled $v.networkPolicy.egress.enabled (not $v.networkPolicy.egress.rules) (hasPrefix "s3://" $v.store.url) -}}
{{- fail "networkPolicy.egress.rules is empty, so the pods could not reach the bucket: name its network and port" -}}
{{- end -}}

{{- $none := has "none" $v.trustedProxies -}}
{{- if and $none (gt (len $v.trustedProxies) 1) -}}
{{- fail "trustedProxies: either none, or networks" -}}
{{- end -}}
{{- $behind := or $v.ingress.enabled $v.gateway.enabled -}}
{{- if and $behind (not $v.trustedProxies) (not (include "longshore.proxiesElsewhere" .)) -}}
{{- fail "trustedProxies is empty: behind an ingress or a gateway all clients would seem to have the address of the proxy, so that their password checks and uploads queue behind each other. Name the network of the proxy's pods, such as [10.244.0.0/16], or choose that by name with trustedProxies=[none]" -}}
{{- end -}}
{{- range $network := list "0.0.0.0/0" "::/0" -}}
{{- if and (has $network $v.trustedProxies) (not (and $v.networkPolicy.enabled $v.networkPolicy.registryFrom)) -}}
{{- fail (printf "trustedProxies has %s, so every client could forge its address: name the network of the proxy's pods, or let only the proxy reach the port with networkPolicy.registryFrom" $network) -}}
{{- end -}}
{{- end -}}
{{- end -}}
