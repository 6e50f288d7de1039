{{/* What the settings let a pod take, and the resources that follow from it (docs/production.md, "How much it
needs"). */}}

{{/* Bytes of a size of Longshore (16MiB) or of a quantity of Kubernetes (1Gi, 500M, 1.5G). */}}
{{- define "longshore.bytes" -}}
{{- $value := index . 0 -}}
{{- if kindIs "string" $value -}}
{{- $units := dict "" 1 "B" 1 "KiB" 1024 "MiB" 1048576 "GiB" 1073741824 "TiB" 1099511627776 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $unit := regexFind "[A-Za-z]*$" $value -}}
{{- $number := trimSuffix $unit $value -}}
{{- if not (and (hasKey $units $unit) (regexMatch "^[0-9]+([.][0-9]+)?$" $number)) -}}
{{- fail (printf "%s=%s is not a size" (index . 1) $value) -}}
{{- end -}}
{{- mulf (float64 $number) (get $units $unit) | int64 -}}
{{- else -}}
{{- int64 $value -}}
{{- end -}}
{{- end -}}

{{/* A setting: the variable in extraEnv, then the file, then the default of the program. */}}
{{- define "longshore.setting" -}}
{{- $root := index . 0 -}}{{- $section := index . 1 -}}{{- $name := index . 2 -}}
{{- $value := index . 3 -}}
{{- $given := default dict (get (fromJson (include "longshore.config" $root)) $section) -}}
{{- if and (hasKey $given $name) (not (kindIs "invalid" (get $given $name))) -}}{{- $value = get $given $name -}}{{- end -}}
{{- $variable := printf "LONGSHORE_%s_%s" (upper $section) (upper $name) -}}
{{- range $root.Values.extraEnv -}}
{{- if and (eq .name $variable) .value -}}{{- $value = tpl (toString .value) $root -}}{{- end -}}
{{- end -}}
{{- include "longshore.bytes" (list $value (printf "config.%s.%s" $section $name)) -}}
{{- end -}}

{{/* The most MiB that the settings let a pod take. */}}
{{- define "longshore.memory" -}}
{{- $bytes := add
  (include "longshore.setting" (list . "uploads" "buffer_bytes" "512MiB") | int64)
  (mul 65536 (include "longshore.setting" (list . "uploads" "concurrent_max" 1024) | int64))
  (include "longshore.setting" (list . "server" "response_bytes" "256MiB") | int64)
  (include "longshore.setting" (list . "cache" "local_bytes" "64MiB") | int64)
  (mul 40 1048576) -}}
{{- div (add $bytes 1048575) 1048576 -}}
{{- end -}}

{{/* The resources of the container: memory that is "" follows from the settings. The limit has a twelfth more
than the settings allow, rounded up to 64 MiB. */}}
{{- define "longshore.resources" -}}
{{- $needed := include "longshore.memory" . | int64 -}}
{{- $resources := deepCopy (default dict .Values.resources) -}}
{{- $requests := default dict $resources.requests -}}
{{- $limits := default dict $resources.limits -}}
{{- if eq (toString $limits.memory) "" -}}
{{- $_ := set $limits "memory" (printf "%dMi" (mul 64 (div (add $needed (div $needed 12) 63) 64))) -}}
{{- end -}}
{{- if eq (toString $requests.memory) "" -}}
{{- $_ := set $requests "memory" (printf "%dMi" $needed) -}}
{{- end -}}
{{- if $requests -}}{{- $_ := set $resources "requests" $requests -}}{{- end -}}
{{- if $limits -}}{{- $_ := set $resources "limits" $limits -}}{{- end -}}
{{- $resources | toYaml -}}
{{- end -}}

{{/* Fails for a limit that the kernel would enforce before the settings do. */}}
{{- define "longshore.refuseMemory" -}}
{{- $needed := mul 1048576 (include "longshore.memory" . | int64) -}}
{{- $resources := fromYaml (include "longshore.resources" .) -}}
{{- $limit := (default dict $resources.limits).memory -}}
{{- $request := (default dict $resources.requests).memory -}}
{{- if $limit -}}
{{- $most := include "longshore.bytes" (list $limit "resources.limits.memory") | int64 -}}
{{- if lt $most $needed -}}
{{- fail (printf "resources.limits.memory=%v is less than the %dMi that the settings let a pod take (uploads.buffer_bytes + 64 KiB for each of uploads.concurrent_max + server.response_bytes + cache.local_bytes + 40 MiB): the kernel would kill it. Raise the limit, leave it empty, or lower these settings in config" $limit (div $needed 1048576)) -}}
{{- end -}}
{{- if and $request (lt $most (include "longshore.bytes" (list $request "resources.requests.memory") | int64)) -}}
{{- fail (printf "resources.requests.memory=%v is more than resources.limits.memory=%v" $request $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
