{{- define "frontdesk.toDns" -}}
- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
  to:
    {{- toYaml .Values.networkPolicy.dnsTo | nindent 4 }}
{{- end }}

{{/* Not to where a cloud's machine keeps its own credentials: whoever could choose an address must not get those. */}}
{{- define "frontdesk.anywhere" -}}
- ipBlock: {cidr: 0.0.0.0/0, except: [169.254.0.0/16]}
- ipBlock: {cidr: "::/0", except: ["fe80::/10", "fd00:ec2::254/128"]}
{{- end }}

{{- define "frontdesk.toNats" -}}
{{- if .Values.nats.enabled -}}
- ports: [{protocol: TCP, port: {{ .Values.nats.config.nats.port }}}]
  to:
    - podSelector:
        matchLabels:
          {{- include "nats.selectorLabels" .Subcharts.nats | nindent 10 }}
{{- else -}}
- ports:
    {{- $ports := list }}
    {{- range splitList "," .Values.natsClient.url }}{{ $ports = append $ports (include "frontdesk.port" (trim .)) }}{{ end }}
    {{- range uniq $ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  to:
    {{- if .Values.networkPolicy.natsTo }}
    {{- toYaml .Values.networkPolicy.natsTo | nindent 4 }}
    {{- else }}
    {{- include "frontdesk.anywhere" . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}

{{- define "frontdesk.toN8n" -}}
{{- $ports := .Values.networkPolicy.n8nPorts }}
{{- if not $ports }}
{{- $settings := mergeOverwrite (dict) .Values.settings .Values.worker.settings }}
{{- $urls := list $settings.N8N_WEBHOOK_URL $settings.N8N_API_URL }}
{{- range .Values.worker.sites }}{{ $urls = append $urls .webhook_url }}{{ $urls = append $urls .api_url }}{{ end }}
{{- range compact $urls }}{{ $ports = append $ports (include "frontdesk.port" .) }}{{ end }}
{{- end }}
- ports:
    {{- range uniq $ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  to:
    {{- if .Values.networkPolicy.n8nTo }}
    {{- toYaml .Values.networkPolicy.n8nTo | nindent 4 }}
    {{- else }}
    {{- include "frontdesk.anywhere" . | nindent 4 }}
    {{- end }}
{{- end }}
