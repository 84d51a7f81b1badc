{{- define "frontdesk.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Short enough that the longest name that is made of it, with the hash of the Job, stays within 63 characters. */}}
{{- define "frontdesk.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "frontdesk.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "frontdesk.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Of a role: (dict "root" $ "role" "edge"). These never change: a Deployment's selector can't. */}}
{{- define "frontdesk.selectorLabels" -}}
app.kubernetes.io/name: {{ include "frontdesk.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "frontdesk.labels" -}}
{{ include "frontdesk.selectorLabels" . }}
app.kubernetes.io/part-of: frontdesk
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "frontdesk.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The same words stand in values.yaml, for the server of NATS. */}}
{{- define "frontdesk.secretName" -}}
{{- .Values.global.frontdeskSecret | default (printf "%s-frontdesk-secrets" .Release.Name) }}
{{- end }}

{{/* Whether /metrics needs METRICS_TOKEN, as far as the chart can know. */}}
{{- define "frontdesk.metricsToken" -}}
{{- if .Values.global.frontdeskSecret }}
{{- if .Values.serviceMonitor.tokenInSecret }}true{{ end }}
{{- else if .Values.secrets.METRICS_TOKEN }}true{{ end }}
{{- end }}

{{- define "frontdesk.natsUrl" -}}
{{- if .Values.nats.enabled -}}
{{ ternary "tls" "nats" .Values.nats.config.nats.tls.enabled }}://{{ .Values.nats.service.name | default (include "nats.fullname" .Subcharts.nats) }}:{{ .Values.nats.config.nats.port }}
{{- else -}}
{{ .Values.natsClient.url }}
{{- end }}
{{- end }}

{{/* The port of a URL, its scheme's where it names none. */}}
{{- define "frontdesk.port" -}}
{{- $url := urlParse . }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- $port | default (get (dict "http" "80" "https" "443" "nats" "4222" "tls" "4222") $url.scheme) }}
{{- end }}

{{/* Where a role listens: (dict "root" $ "port" 8001). */}}
{{- define "frontdesk.address" -}}
{{- $host := .root.Values.listenOn }}
{{- ternary (printf "[%s]" $host) $host (contains ":" $host) }}:{{ .port }}
{{- end }}
