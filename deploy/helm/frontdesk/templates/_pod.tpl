{{/*
The environment of a role: (dict "root" $ "role" "edge" "user" "EDGE" "values" .Values.edge "set" (dict ...) "secret" (dict ...)).
`set` is what the chart decides, `secret` has the names that come from the Secret: true = needed.
*/}}
{{- define "frontdesk.env" -}}
{{- $root := .root }}
{{- $nats := dict "NATS_URL" (include "frontdesk.natsUrl" $root) }}
{{- $tls := $root.Values.natsClient.tls }}
{{- if $tls.secret }}
{{- $_ := set $nats "NATS_TLS_CA" (printf "/nats-tls/%s" $tls.ca) }}
{{- if $tls.cert }}
{{- $_ := set $nats "NATS_TLS_CERT" (printf "/nats-tls/%s" $tls.cert) }}
{{- $_ := set $nats "NATS_TLS_KEY" (printf "/nats-tls/%s" $tls.key) }}
{{- end }}
{{- end }}
{{- if eq $root.Values.natsClient.auth "password" }}
{{- $_ := set $nats "NATS_USER" (lower .user) }}
{{- end }}
{{- range $name, $value := mergeOverwrite (dict) $root.Values.settings .values.settings .set $nats }}
- name: {{ $name }}
  {{- /* A number of a values file is a float here, and a large one would come out as 1e+06. */}}
  value: {{ ternary (printf "%.0f" $value) (toString $value) (and (kindIs "float64" $value) (eq (toString $value | float64) (floor $value))) | quote }}
{{- end }}
{{- range $name, $needed := .secret }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ include "frontdesk.secretName" $root }}
      key: {{ $name }}
      {{- if not $needed }}
      optional: true
      {{- end }}
{{- end }}
{{- $kind := $root.Values.natsClient.auth }}
{{- if ne $kind "none" }}
- name: {{ ternary "NATS_PASSWORD" "NATS_NKEY" (eq $kind "password") }}
  valueFrom:
    secretKeyRef:
      name: {{ include "frontdesk.secretName" $root }}
      key: NATS_{{ .user }}_{{ ternary "PASSWORD" "NKEY" (eq $kind "password") }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
A pod of a role: what "frontdesk.env" takes, and "command", "port" (0: none), "scheme", "grace", "linger", "volumes" and "mounts"
(lists), "checksums" (dict), "restartPolicy".
*/}}
{{- define "frontdesk.pod" -}}
{{- $root := .root }}
{{- $values := .values }}
{{- $volumes := .volumes | default list }}
{{- $mounts := .mounts | default list }}
{{- with $root.Values.natsClient.tls.secret }}
{{- $volumes = append $volumes (dict "name" "nats-tls" "secret" (dict "secretName" . "defaultMode" 288)) }}
{{- $mounts = append $mounts (dict "name" "nats-tls" "mountPath" "/nats-tls" "readOnly" true) }}
{{- end }}
{{- $volumes = concat $volumes $values.extraVolumes }}
{{- $mounts = concat $mounts $values.extraVolumeMounts }}
metadata:
  labels:
    {{- include "frontdesk.labels" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with merge (dict) ($values.podAnnotations | default dict) (.checksums | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "frontdesk.fullname" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .grace }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if hasKey $values "autoscaling" }}
  topologySpreadConstraints:
    {{- range $where := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - topologyKey: {{ $where }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels:
          {{- include "frontdesk.selectorLabels" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ include "frontdesk.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [{{ .command }}]
      env:
        {{- include "frontdesk.env" . | trim | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      {{- if .port }}
      ports:
        - {name: http, containerPort: {{ .port }}, protocol: TCP}
      # Alive for as long as it answers: waiting for NATS is no reason to start it anew.
      livenessProbe:
        httpGet: {path: /health/live, port: http, scheme: {{ .scheme | default "HTTP" }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /health/ready, port: http, scheme: {{ .scheme | default "HTTP" }}}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- end }}
      {{- with .linger }}
      # A request may still come by an endpoint that was not taken out yet. The image has no shell to sleep with.
      lifecycle:
        preStop:
          sleep: {seconds: {{ . }}}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      {{- with $mounts }}
      volumeMounts:
        {{- toYaml . | nindent 8 }}
      {{- end }}
  {{- with $volumes }}
  volumes:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
