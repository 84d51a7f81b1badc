{{/*
What would start and then not work, or work and not be safe, stops here with a sentence. values.schema.json has looked
at names and types before.
*/}}
{{- define "frontdesk.checks" }}
{{- $keys := list "JWT_SECRET_KEY" "JWT_SECRET_KEY_PREVIOUS" "IDENTITY_SECRET" "CAPTCHA_SECRET_KEY" "SESSION_SECRET_KEY" "N8N_API_KEY" "N8N_API_TOKEN" "ADMIN_TOKEN" "SITE_TOKENS" "METRICS_TOKEN" "OTEL_EXPORTER_OTLP_HEADERS" "NATS_PASSWORD" "NATS_NKEY" }}
{{- range $where, $settings := dict "settings" .Values.settings "edge.settings" .Values.edge.settings "worker.settings" .Values.worker.settings "analytics.settings" .Values.analytics.settings "natsSetup.settings" .Values.natsSetup.settings }}
{{- range $key := $keys }}
{{- if hasKey $settings $key }}
{{- fail (printf "%s.%s is a secret and would be readable for everybody who may look at a pod: it belongs into `secrets`, or into the Secret that global.frontdeskSecret names." $where $key) }}
{{- end }}
{{- end }}
{{- range $key := list "NATS_URL" "NATS_USER" "NATS_TLS_CA" "NATS_TLS_CERT" "NATS_TLS_KEY" }}
{{- if hasKey $settings $key }}
{{- fail (printf "%s.%s: how NATS is reached stands in natsClient." $where $key) }}
{{- end }}
{{- end }}
{{- range $key := list "API_HOST" "API_PORT" "WORKER_ADDR" "ANALYTICS_ADDR" "ANALYTICS_DB_PATH" "SITES_FILE" "N8N_SITES_FILE" "WIDGET_CONFIG_DIR" }}
{{- if hasKey $settings $key }}
{{- fail (printf "%s.%s: the chart sets it; see listenOn, edge.sites, edge.widgets and worker.sites." $where $key) }}
{{- end }}
{{- end }}
{{- if hasKey $settings "DRAIN_TIMEOUT" }}
{{- fail (printf "%s.DRAIN_TIMEOUT: use edge.drainSeconds and worker.drainSeconds, so that Kubernetes waits for that long as well." $where) }}
{{- end }}
{{- end }}

{{- range $where, $settings := dict "edge.settings" .Values.edge.settings "worker.settings" .Values.worker.settings "natsSetup.settings" .Values.natsSetup.settings }}
{{- range $key := list "QUEUE_TIMEOUT" "ENDED_MAX_AGE" }}
{{- if hasKey $settings $key }}
{{- fail (printf "%s.%s must be the same for all roles: it belongs into `settings`." $where $key) }}
{{- end }}
{{- end }}
{{- end }}

{{- if not (or .Values.worker.settings.N8N_WEBHOOK_URL .Values.settings.N8N_WEBHOOK_URL) }}
{{- fail "worker.settings.N8N_WEBHOOK_URL is missing: the production URL of your workflow's webhook." }}
{{- end }}

{{- if .Values.nats.enabled }}
{{- if gt (len .Release.Name) 40 }}
{{- fail (printf "The release's name %s is longer than 40 characters: names that the chart of NATS makes of it would be too long for Kubernetes." .Release.Name) }}
{{- end }}
{{- if .Values.natsClient.url }}
{{- fail "natsClient.url is for a NATS that is there already: set nats.enabled to false, or leave the url out." }}
{{- end }}
{{- if ne .Values.natsClient.auth "password" }}
{{- fail "natsClient.auth must be `password` with the NATS of this chart: its server knows its users by passwords." }}
{{- end }}
{{- if and .Values.nats.config.nats.tls.enabled (not .Values.natsClient.tls.secret) }}
{{- fail "natsClient.tls.secret is missing: a Secret with the certificate of the authority that signed that of nats.config.nats.tls.secretName." }}
{{- end }}
{{- else if not .Values.natsClient.url }}
{{- fail "natsClient.url is missing: with nats.enabled false the address of your NATS, such as tls://nats.example:4222." }}
{{- end }}

{{- if ne (empty .Values.natsClient.tls.cert) (empty .Values.natsClient.tls.key) }}
{{- fail "natsClient.tls.cert and natsClient.tls.key go together." }}
{{- end }}

{{- if .Values.ingress.enabled }}
{{- if not .Values.ingress.host }}
{{- fail "ingress.host is missing: the name under which browsers reach the chat, such as chat.shop.example." }}
{{- end }}
{{- if not (or .Values.edge.settings.TRUSTED_PROXIES .Values.settings.TRUSTED_PROXIES) }}
{{- fail "edge.settings.TRUSTED_PROXIES is missing: the network of your ingress controller's pods, such as 10.0.0.0/8. Without it all visitors count as one, and share the limits of one address." }}
{{- end }}
{{- end }}

{{- if and .Values.edge.widgets .Values.edge.widgetsConfigMap }}
{{- fail "edge.widgets and edge.widgetsConfigMap are two places for the same thing: keep one." }}
{{- end }}
{{- if and .Values.worker.sites .Values.worker.sitesSecret }}
{{- fail "worker.sites and worker.sitesSecret are two places for the same thing: keep one." }}
{{- end }}

{{- if .Values.global.frontdeskSecret }}
{{- if .Values.secrets }}
{{- fail "secrets and global.frontdeskSecret are two places for the same thing: keep one." }}
{{- end }}
{{- else }}
{{- $help := "Make one with `frontdesk keys` (those of NATS with `frontdesk keys --nats`), or name a Secret of yours in global.frontdeskSecret." }}
{{- $long := list "JWT_SECRET_KEY" "SESSION_SECRET_KEY" }}
{{- range $key := $long }}
{{- if not (get $.Values.secrets $key) }}
{{- fail (printf "secrets.%s is missing. %s" $key $help) }}
{{- end }}
{{- end }}
{{- range $key := concat $long (list "JWT_SECRET_KEY_PREVIOUS" "IDENTITY_SECRET" "ADMIN_TOKEN") }}
{{- $value := get $.Values.secrets $key }}
{{- if and $value (lt (len $value) 32) }}
{{- fail (printf "secrets.%s is shorter than 32 bytes. %s" $key $help) }}
{{- end }}
{{- end }}
{{- if eq .Values.secrets.JWT_SECRET_KEY .Values.secrets.SESSION_SECRET_KEY }}
{{- fail (printf "secrets.JWT_SECRET_KEY and secrets.SESSION_SECRET_KEY must differ. %s" $help) }}
{{- end }}
{{- if ne .Values.natsClient.auth "none" }}
{{- $kind := ternary "PASSWORD" "NKEY" (eq .Values.natsClient.auth "password") }}
{{- $users := list "EDGE" "WORKER" }}
{{- if .Values.natsSetup.enabled }}{{ $users = append $users "ADMIN" }}{{ end }}
{{- if .Values.analytics.enabled }}{{ $users = append $users "ANALYTICS" }}{{ end }}
{{- /* The server of this chart has all four users, and does not start without the password of one. */}}
{{- if .Values.nats.enabled }}{{ $users = list "EDGE" "WORKER" "ANALYTICS" "ADMIN" }}{{ end }}
{{- range $user := $users }}
{{- $key := printf "NATS_%s_%s" $user $kind }}
{{- $value := get $.Values.secrets $key }}
{{- if not $value }}
{{- fail (printf "secrets.%s is missing. %s" $key $help) }}
{{- end }}
{{- if and $.Values.nats.enabled (not (regexMatch "^[A-Za-z][A-Za-z0-9_-]{19,}$" $value)) }}
{{- fail (printf "secrets.%s must begin with a letter, have 20 characters or more, and only letters, digits, `-` and `_`: nats-server reads it as a value of its configuration. %s" $key $help) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
