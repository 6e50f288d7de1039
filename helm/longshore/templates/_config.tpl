{{/* The settings: those of typed values, overridden by `config`. JSON, so that other templates can read it. */}}
{{- define "longshore.config" -}}
{{- $v := .Values -}}
{{- $server := dict "drain_delay" (printf "%ds" (int $v.drain.delaySeconds)) "drain_timeout" (printf "%ds" (int $v.drain.timeoutSeconds)) -}}
{{- with without $v.trustedProxies "none" -}}{{- $_ := set $server "trusted_proxies" . -}}{{- end -}}
{{- $access := dict -}}
{{- with $v.access.anonymous -}}{{- $_ := set $access "anonymous" . -}}{{- end -}}
{{- with $v.access.authenticated -}}{{- $_ := set $access "authenticated" . -}}{{- end -}}
{{- with $v.access.rules -}}{{- $_ := set $access "rules" . -}}{{- end -}}
{{- $token := dict -}}
{{- range $name, $value := dict "realm" $v.access.token.realm "service" $v.access.token.service "issuer" $v.access.token.issuer "groups_claim" $v.access.token.groupsClaim -}}
{{- with $value -}}{{- $_ := set $token $name . -}}{{- end -}}
{{- end -}}
{{- with $token -}}{{- $_ := set $access "token" . -}}{{- end -}}
{{- $s3 := dict -}}
{{- range $name, $value := dict "endpoint" $v.store.s3.endpoint "public_endpoint" $v.store.s3.publicEndpoint "region" $v.store.s3.region "access_key_id" $v.store.s3.accessKeyId -}}
{{- with $value -}}{{- $_ := set $s3 $name . -}}{{- end -}}
{{- end -}}
{{- if kindIs "bool" $v.store.s3.pathStyle -}}{{- $_ := set $s3 "path_style" $v.store.s3.pathStyle -}}{{- end -}}
{{- $cache := dict -}}
{{- if eq $v.redis.mode "development" -}}
{{- $_ := set $cache "redis" (printf "redis://%s-redis:6379" (include "longshore.fullname" .)) -}}
{{- else if eq $v.redis.mode "external" -}}
{{- range $name, $value := dict "redis" $v.redis.url "redis_topology" $v.redis.topology "redis_primary" $v.redis.primary "redis_username" $v.redis.username "redis_prefix" $v.redis.prefix -}}
{{- with $value -}}{{- $_ := set $cache $name . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $blobs := dict "delivery" $v.delivery -}}
{{- with $v.redirectNetworks -}}{{- $_ := set $blobs "redirect_networks" . -}}{{- end -}}
{{- $typed := dict "server" $server "blobs" $blobs "log" (dict "format" $v.log.format "level" $v.log.level) -}}
{{- with $access -}}{{- $_ := set $typed "access" . -}}{{- end -}}
{{- with $s3 -}}{{- $_ := set $typed "store" (dict "s3" .) -}}{{- end -}}
{{- with $cache -}}{{- $_ := set $typed "cache" . -}}{{- end -}}
{{- mustMergeOverwrite $typed (deepCopy $v.config) | toJson -}}
{{- end -}}

{{/* A TOML table with its subtables. `path` is its name, empty for the file itself. JSON strings are valid
TOML strings. YAML numbers arrive as floats, and settings are integers. */}}
{{- define "longshore.toml" -}}
{{- $path := .path -}}
{{- range $name, $value := .table -}}
{{- if and (kindIs "slice" $value) $value (kindIs "map" (first $value)) -}}
{{- else if kindIs "map" $value -}}
{{- else if kindIs "invalid" $value -}}
{{- else }}
{{ $name }} = {{ include "longshore.tomlValue" $value }}
{{- end -}}
{{- end -}}
{{- range $name, $value := .table -}}
{{- $below := ternary $name (printf "%s.%s" $path $name) (empty $path) -}}
{{- if kindIs "map" $value }}
{{- /* A header that only has tables below it says nothing. */ -}}
{{- $own := false -}}
{{- range $value -}}
{{- $tables := and (kindIs "slice" .) . (kindIs "map" (first .)) -}}
{{- if not (or (kindIs "map" .) (kindIs "invalid" .) $tables) -}}{{- $own = true -}}{{- end -}}
{{- end -}}
{{- if $own }}

[{{ $below }}]
{{- end -}}
{{- include "longshore.toml" (dict "table" $value "path" $below) -}}
{{- else if and (kindIs "slice" $value) $value (kindIs "map" (first $value)) -}}
{{- range $row := $value }}

[[{{ $below }}]]
{{- include "longshore.toml" (dict "table" $row "path" $below) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "longshore.tomlValue" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{- printf "%d" (int64 .) -}}{{- else -}}{{- . -}}{{- end -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{/* The content of the file in the ConfigMap. */}}
{{- define "longshore.configFile" -}}
{{- include "longshore.toml" (dict "table" (fromJson (include "longshore.config" .)) "path" "") | trim -}}
{{- end -}}
