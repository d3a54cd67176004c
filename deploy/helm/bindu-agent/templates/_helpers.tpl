{{- define "bindu-agent.fullname" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "bindu-agent.selectorLabels" -}}
app.kubernetes.io/name: bindu-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "bindu-agent.labels" -}}
{{ include "bindu-agent.selectorLabels" . }}
app.kubernetes.io/part-of: bindu
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "bindu-agent.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "bindu-agent.fullname" .) -}}
{{- end }}

{{- define "bindu-agent.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "bindu-agent.vaultRole" -}}
{{- .Values.vault.role | default (printf "bindu-%s" (include "bindu-agent.fullname" .)) -}}
{{- end }}

{{- define "bindu-agent.host" -}}
{{- $url := urlParse .Values.agent.url -}}
{{- $url.host -}}
{{- end }}

{{/* All mistakes together, as `bindu` itself tells them. */}}
{{- define "bindu-agent.check" -}}
{{- $mistakes := list -}}
{{- if not .Values.agent.name -}}
{{- $mistakes = append $mistakes "agent.name is not set: what the agent is called, part of its DID (--set agent.name=\"Echo Agent\")" -}}
{{- end -}}
{{- if not .Values.agent.author -}}
{{- $mistakes = append $mistakes "agent.author is not set: who is responsible for it, part of its DID (--set agent.author=alice@example.com)" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not (hasPrefix "https://" .Values.agent.url)) -}}
{{- $mistakes = append $mistakes "ingress.enabled needs agent.url=https://HOST: its host is the ingress's" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (contains ":" (include "bindu-agent.host" .)) -}}
{{- $mistakes = append $mistakes "agent.url has a port, and an ingress listens on 443: leave it out" -}}
{{- end -}}
{{- if and (has .Values.vault.auth (list "approle" "token_file")) (not .Values.vault.secretName) -}}
{{- $mistakes = append $mistakes (printf "vault.auth=%s needs vault.secretName: the Secret with what it logs in with" .Values.vault.auth) -}}
{{- end -}}
{{- if and .Values.auth.enabled (not (and .Values.hydra.adminUrl .Values.hydra.publicUrl)) -}}
{{- $mistakes = append $mistakes "auth.enabled needs hydra.adminUrl and hydra.publicUrl" -}}
{{- end -}}
{{- if not .Values.auth.enabled -}}
{{- if or .Values.auth.requirePermissions .Values.auth.allowedDids .Values.auth.audience .Values.auth.rateLimit -}}
{{- $mistakes = append $mistakes "auth.requirePermissions, allowedDids, audience and rateLimit have no effect without auth.enabled" -}}
{{- end -}}
{{- end -}}
{{- if and (gt (.Values.replicas | int) 1) (not .Values.tasks.local) (not .Values.database.existingSecret) -}}
{{- $mistakes = append $mistakes "replicas is more than 1 without a shared task store: polls may ask the replica that does not have the task. Set database.existingSecret (docs/STORAGE.md), or tasks.local=true to accept it" -}}
{{- end -}}
{{- if and .Values.tasks.local .Values.database.existingSecret -}}
{{- $mistakes = append $mistakes "tasks.local and database.existingSecret exclude each other: with a database no replica keeps its tasks to itself" -}}
{{- end -}}
{{- if and .Values.database.existingSecret (hasKey .Values.settings "STORAGE_TYPE") -}}
{{- $mistakes = append $mistakes "settings.STORAGE_TYPE and database.existingSecret exclude each other" -}}
{{- end -}}
{{- range $name := list "VAULT_TOKEN" "VAULT__TOKEN" -}}
{{- if hasKey $.Values.settings $name -}}
{{- $mistakes = append $mistakes (printf "settings.%s: a ConfigMap is no place for a secret; use vault.auth=token_file and vault.secretName" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "DATABASE_URL" "BINDU_STORAGE_LISTEN_URL" -}}
{{- if hasKey $.Values.settings $name -}}
{{- $mistakes = append $mistakes (printf "settings.%s: a ConfigMap is no place for a secret; use database.existingSecret" $name) -}}
{{- end -}}
{{- end -}}
{{- if $mistakes -}}
{{- fail (printf "\n\n  - %s\n" (join "\n  - " $mistakes)) -}}
{{- end -}}
{{- end }}

{{/* The settings as variables, a dictionary in YAML. An empty one is an unset one, so those are left out. */}}
{{- define "bindu-agent.settings" -}}
{{- $v := .Values -}}
{{- $all := dict
  "BINDU_NAME" $v.agent.name
  "BINDU_AUTHOR" $v.agent.author
  "BINDU_AGENT_ID" $v.agent.id
  "BINDU_DESCRIPTION" $v.agent.description
  "BINDU_DEPLOYMENT_URL" $v.agent.url
  "BINDU_HOST" "0.0.0.0"
  "BINDU_PORT" "3773"
  "BINDU_PROBE_LISTEN" "0.0.0.0:3774"
  "BINDU_DATA_DIR" "/data"
  "BINDU_ON_ABSENT" $v.identity.onAbsent
  "BINDU_START_DEADLINE" $v.identity.startDeadline
  "VAULT__ENABLED" "true"
  "VAULT_ADDR" $v.vault.address
  "VAULT__AUTH" $v.vault.auth
  "VAULT__AUTH_MOUNT" $v.vault.authMount
  "VAULT__MOUNT" $v.vault.mount
  "VAULT__PREFIX" $v.vault.prefix
  "VAULT_NAMESPACE" $v.vault.namespace
  "AUTH__ENABLED" ($v.auth.enabled | toString)
  "BINDU_MAX_CONNECTIONS" ($v.http.maxConnections | int64 | toString)
  "RUST_LOG" $v.logLevel
  "STORAGE_TYPE" (ternary "postgres" "memory" (ne $v.database.existingSecret ""))
  "LOG_FORMAT" "json"
-}}
{{- if has $v.vault.auth (list "kubernetes" "jwt") -}}
{{- $_ := set $all "VAULT__ROLE" (include "bindu-agent.vaultRole" .) -}}
{{- $_ := set $all "VAULT__JWT_FILE" "/var/run/secrets/bindu/vault/token" -}}
{{- else if eq $v.vault.auth "approle" -}}
{{- $_ := set $all "VAULT__ROLE_ID_FILE" "/var/run/secrets/bindu/vault/role-id" -}}
{{- $_ := set $all "VAULT__SECRET_ID_FILE" "/var/run/secrets/bindu/vault/secret-id" -}}
{{- else -}}
{{- $_ := set $all "VAULT__TOKEN_FILE" "/var/run/secrets/bindu/vault/token" -}}
{{- end -}}
{{- if $v.vault.ca.configMap -}}
{{- $_ := set $all "VAULT_CACERT" (printf "/etc/bindu/vault-ca/%s" $v.vault.ca.key) -}}
{{- end -}}
{{- if $v.auth.enabled -}}
{{- $_ := set $all "HYDRA__ADMIN_URL" $v.hydra.adminUrl -}}
{{- $_ := set $all "HYDRA__PUBLIC_URL" $v.hydra.publicUrl -}}
{{- $_ := set $all "AUTH__CONCURRENCY" ($v.auth.concurrency | int64 | toString) -}}
{{- $_ := set $all "AUTH__AUDIENCE" $v.auth.audience -}}
{{- $_ := set $all "AUTH__RATE_LIMIT" $v.auth.rateLimit -}}
{{- if $v.auth.requirePermissions }}{{- $_ := set $all "AUTH__REQUIRE_PERMISSIONS" "true" -}}{{- end -}}
{{- if $v.auth.allowedDids }}{{- $_ := set $all "AUTH__ALLOWED_DIDS" (toJson $v.auth.allowedDids) -}}{{- end -}}
{{- if not $v.hydra.autoRegister }}{{- $_ := set $all "HYDRA__AUTO_REGISTER_AGENTS" "false" -}}{{- end -}}
{{- end -}}
{{- if $v.hydra.ca.configMap -}}
{{- $_ := set $all "SSL_CERT_FILE" "/etc/ssl/certs/ca-certificates.crt" -}}
{{- $_ := set $all "SSL_CERT_DIR" "/etc/bindu/hydra-ca" -}}
{{- end -}}
{{- if $v.handler.command -}}
{{- $_ := set $all "BINDU_COMMAND" (toJson $v.handler.command) -}}
{{- $_ := set $all "BINDU_COMMAND_WORKERS" ($v.handler.workers | int64 | toString) -}}
{{- end -}}
{{- range $name, $value := $v.settings -}}
{{- /* Numbers of a file are floating ones here, and large ones would be written as 5e+06. */ -}}
{{- $_ := set $all $name (kindIs "float64" $value | ternary ($value | int64) $value | toString) -}}
{{- end -}}
{{- range $name, $value := $all -}}
{{- if not (eq ($value | toString) "") }}
{{ $name }}: {{ $value | toString | quote }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What the agent, and the test beside it, read from: shared, so that the test logs in as the agent would. */}}
{{- define "bindu-agent.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Makes the token readable and /data writable for this group.
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "bindu-agent.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "bindu-agent.volumeMounts" -}}
- name: data
  mountPath: /data
- name: vault-token
  mountPath: /var/run/secrets/bindu/vault
  readOnly: true
{{- if .Values.vault.ca.configMap }}
- name: vault-ca
  mountPath: /etc/bindu/vault-ca
  readOnly: true
{{- end }}
{{- if .Values.hydra.ca.configMap }}
- name: hydra-ca
  mountPath: /etc/bindu/hydra-ca
  readOnly: true
{{- end }}
{{- if .Values.database.ca.configMap }}
- name: database-ca
  mountPath: /etc/bindu/database-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "bindu-agent.volumes" -}}
# A cache of what Vault has, in memory: the key never touches a node's disk.
- name: data
  emptyDir:
    medium: Memory
    sizeLimit: 8Mi
- name: vault-token
{{- if has .Values.vault.auth (list "kubernetes" "jwt") }}
  projected:
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .Values.vault.audience | quote }}
          expirationSeconds: 3600
{{- else }}
  secret:
    secretName: {{ .Values.vault.secretName }}
    # For the agent's group (fsGroup).
    defaultMode: 0440
{{- end }}
{{- with .Values.vault.ca.configMap }}
- name: vault-ca
  configMap:
    name: {{ . }}
{{- end }}
{{- with .Values.hydra.ca.configMap }}
- name: hydra-ca
  configMap:
    name: {{ . }}
{{- end }}
{{- with .Values.database.ca.configMap }}
- name: database-ca
  configMap:
    name: {{ . }}
    optional: true
{{- end }}
{{- end }}

{{/* The variables of the container: those of Secrets, and what the values add. */}}
{{- define "bindu-agent.env" -}}
{{- with .Values.database -}}
{{- if .existingSecret }}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .key }}
{{- if .listenUrlKey }}
- name: BINDU_STORAGE_LISTEN_URL
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .listenUrlKey }}
      optional: true
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
