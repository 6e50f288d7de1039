{{/* Names, labels and selectors of all objects. */}}

{{- define "longshore.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* `component`: "registry", "admin", "redis" or "test". */}}
{{- define "longshore.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The metadata of an object: (dict "root" $ "component" "" "suffix" "" "namespace" "" "labels" dict "annotations" dict) */}}
{{- define "longshore.metadata" -}}
{{- $component := default "registry" .component -}}
{{- $own := fromYaml (include "longshore.selector" (dict "root" .root "component" $component)) -}}
{{- $_ := set $own "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "longshore" -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
name: {{ include "longshore.fullname" .root }}{{ .suffix }}
namespace: {{ default .root.Release.Namespace .namespace }}
labels:
  {{- mustMergeOverwrite (dict) .root.Values.commonLabels (default dict .labels) $own | toYaml | nindent 2 }}
{{- with mustMergeOverwrite (dict) .root.Values.commonAnnotations (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "longshore.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "longshore.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the password of Redis, or nothing. */}}
{{- define "longshore.redisSecret" -}}
{{- if eq .Values.redis.mode "development" -}}
{{- include "longshore.fullname" . }}-redis
{{- else if eq .Values.redis.mode "external" -}}
{{- .Values.redis.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "longshore.image" -}}
{{- $name := .Values.image.repository -}}
{{- with .Values.image.registry -}}{{- $name = printf "%s/%s" . $name -}}{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The smallest number of pods. */}}
{{- define "longshore.pods" -}}
{{- if .Values.autoscaling.enabled -}}{{- int .Values.autoscaling.minReplicas -}}{{- else -}}{{- int .Values.replicas -}}{{- end -}}
{{- end -}}

{{/* Not empty if any number of pods may share the store. */}}
{{- define "longshore.shared" -}}
{{- $store := default dict (default dict .Values.config).store -}}
{{- if and (hasPrefix "s3://" .Values.store.url) (ne (toString $store.writers) "single") -}}yes{{- end -}}
{{- end -}}

{{- define "longshore.scheme" -}}
{{- if .Values.tls.existingSecret -}}https{{- else -}}http{{- end -}}
{{- end -}}
