{{/*
What the charts of the mesh share. The same file in each of them, so that each can be installed by
itself (tests/charts compares the copies).
*/}}

{{- define "mesh.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "mesh.fullname" -}}
{{- $name := include "mesh.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 49 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 49 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 49 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What another part of the release is called. Takes a list of the root and the name of its chart. */}}
{{- define "mesh.nameOf" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) | default dict -}}
{{- include "mesh.fullname" (dict "Chart" (dict "Name" (index . 1)) "Release" $root.Release "Values" $values) -}}
{{- end -}}

{{/* The same for an engine, whose name is not a matter of values. */}}
{{- define "mesh.engine" -}}
{{- $root := index . 0 -}}
{{- include "mesh.fullname" (dict "Chart" (dict "Name" (index . 1)) "Release" $root.Release "Values" dict) -}}
{{- end -}}

{{/* Whether host:port is the engine of this release; empty: it is not. Takes root, engine, address. */}}
{{- define "mesh.isOwn" -}}
{{- $name := include "mesh.engine" (list .root .engine) -}}
{{- $domain := printf "(\\.%s(\\.svc(\\..+)?)?)?" .root.Release.Namespace -}}
{{- if regexMatch (printf "^((%s-[0-9]+\\.)?%s-headless|%s)%s:[0-9]+$" $name $name $name $domain) .address }}yes{{ end -}}
{{- end -}}

{{/* Whether a part is installed, as Helm sees its condition: unless it is false. Takes its values. */}}
{{- define "mesh.isOn" -}}
{{- if not (and (kindIs "bool" .enabled) (not .enabled)) }}yes{{ end -}}
{{- end -}}

{{/* Nothing where somebody else says how many there are: Helm would take it back at each upgrade. */}}
{{- define "mesh.replicas" -}}
{{- $count := .values.replicaCount -}}
{{- $scaled := (.values.autoscaling | default dict).enabled -}}
{{- if not (or $scaled (kindIs "invalid" $count) (kindIs "string" $count)) }}replicas: {{ int $count }}{{ end -}}
{{- end -}}

{{- define "mesh.selector" -}}
app.kubernetes.io/name: {{ include "mesh.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "mesh.labels" -}}
{{ include "mesh.selector" . }}
app.kubernetes.io/part-of: event-mesh
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of a chart whose image is one of ours the tag is the version of the chart's app. */}}
{{- define "mesh.image" -}}
{{- $global := .Values.global | default dict -}}
{{- $tag := .Values.image.tag | default $global.imageTag | default .Chart.AppVersion -}}
{{- with $global.imageRegistry }}{{ . }}/{{ end }}{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}

{{- define "mesh.pullSecrets" -}}
{{- $global := .Values.global | default dict -}}
{{- with concat ($global.imagePullSecrets | default list) (.Values.imagePullSecrets | default list) }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{- define "mesh.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "mesh.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* What a workload says goes before what is said for all; strings may hold templates. */}}
{{- define "mesh.kafka" -}}
{{- $global := .Values.global | default dict -}}
{{- $builtin := dict "securityProtocol" "PLAINTEXT" "saslMechanism" "SCRAM-SHA-256" "usernameKey" "username" "passwordKey" "password" "caKey" "ca.crt" -}}
{{- $kafka := merge (deepCopy .Values.kafka) (deepCopy ($global.kafka | default dict)) $builtin -}}
{{- $given := tpl ($kafka.bootstrapServers | default "") . -}}
{{- if not $given }}{{ fail (printf "%s: kafka.bootstrapServers (or global.kafka.bootstrapServers) is needed: host:port,host:port" .Chart.Name) }}{{ end -}}
{{- $servers := list -}}
{{- range $given | splitList "," -}}
{{- $server := trim . -}}
{{- /* A NetworkPolicy names these ports; without one it would let through all of them. */ -}}
{{- if not (and (regexMatch "^[^\\s,/@]+:[0-9]{1,5}$" $server) (le 1 (regexFind "[0-9]+$" $server | atoi)) (ge 65535 (regexFind "[0-9]+$" $server | atoi))) }}{{ fail (printf "%s: kafka.bootstrapServers (or global.kafka.bootstrapServers) has %q where host:port is needed" $.Chart.Name $server) }}{{ end -}}
{{- $servers = append $servers $server -}}
{{- end -}}
{{- if and (hasPrefix "SASL_" $kafka.securityProtocol) (not $kafka.existingSecret) }}{{ fail (printf "%s: kafka.securityProtocol %s needs kafka.existingSecret, a Secret with a username and a password" .Chart.Name $kafka.securityProtocol) }}{{ end -}}
{{- if and $kafka.existingSecret (not (hasPrefix "SASL_" $kafka.securityProtocol)) }}{{ fail (printf "%s: kafka.existingSecret is not used with kafka.securityProtocol %s: set SASL_SSL or SASL_PLAINTEXT" .Chart.Name $kafka.securityProtocol) }}{{ end -}}
{{- if and $kafka.caSecret (not (hasSuffix "SSL" $kafka.securityProtocol)) }}{{ fail (printf "%s: kafka.caSecret is not used with kafka.securityProtocol %s, which does not encrypt: set SSL or SASL_SSL" .Chart.Name $kafka.securityProtocol) }}{{ end -}}
{{- set $kafka "bootstrapServers" ($servers | join ",") | toYaml -}}
{{- end -}}

{{- define "mesh.qdrant" -}}
{{- $global := .Values.global | default dict -}}
{{- $builtin := dict "apiKeyKey" "api-key" -}}
{{- $qdrant := merge (deepCopy .Values.qdrant) (deepCopy ($global.qdrant | default dict)) $builtin -}}
{{- $url := tpl ($qdrant.url | default "") . -}}
{{- if not (regexMatch "^https?://[^/]+" $url) }}{{ fail (printf "%s: qdrant.url (or global.qdrant.url) is needed: http://host:6333, not %q" .Chart.Name $url) }}{{ end -}}
{{- set $qdrant "url" $url | toYaml -}}
{{- end -}}

{{- define "mesh.kafkaEnv" -}}
{{- $kafka := include "mesh.kafka" . | fromYaml -}}
- name: MESH_KAFKA_BOOTSTRAP_SERVERS
  value: {{ $kafka.bootstrapServers | quote }}
- name: MESH_KAFKA_SECURITY_PROTOCOL
  value: {{ $kafka.securityProtocol }}
{{- with $kafka.prefix }}
- name: MESH_KAFKA_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- if hasPrefix "SASL_" $kafka.securityProtocol }}
- name: MESH_KAFKA_SASL_MECHANISM
  value: {{ $kafka.saslMechanism }}
- name: MESH_KAFKA_SASL_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ $kafka.existingSecret | quote }}, key: {{ $kafka.usernameKey | quote }}}
- name: MESH_KAFKA_SASL_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $kafka.existingSecret | quote }}, key: {{ $kafka.passwordKey | quote }}}
{{- end }}
{{- if $kafka.caSecret }}
- name: MESH_KAFKA_SSL_CA_LOCATION
  value: /etc/mesh/kafka/ca.crt
{{- end }}
{{- end -}}

{{- define "mesh.qdrantEnv" -}}
{{- $qdrant := include "mesh.qdrant" . | fromYaml -}}
- name: MESH_QDRANT_URL
  value: {{ $qdrant.url | quote }}
{{- with $qdrant.collection }}
- name: MESH_QDRANT_COLLECTION
  value: {{ . | quote }}
{{- end }}
{{- if $qdrant.existingSecret }}
- name: MESH_QDRANT_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ $qdrant.existingSecret | quote }}, key: {{ $qdrant.apiKeyKey | quote }}}
{{- end }}
{{- end -}}

{{/* A key of 32 bytes that replicas share: the chart's own Secret, else the global one, else the one
that the umbrella chart makes. Takes root, value (of the values), secret (what is made), env. */}}
{{- define "mesh.keyEnv" -}}
{{- $global := .root.Values.global | default dict -}}
{{- $builtin := dict "existingSecret" (printf "%s-%s" .root.Release.Name .secret) "key" .secret -}}
{{- $key := merge (deepCopy (get .root.Values .value)) (deepCopy (get $global .value | default dict)) $builtin -}}
- name: {{ .env }}
  valueFrom:
    secretKeyRef: {name: {{ $key.existingSecret | quote }}, key: {{ $key.key | quote }}}
{{- end -}}

{{- define "mesh.positionKeyEnv" -}}
{{- include "mesh.keyEnv" (dict "root" . "value" "positionKey" "secret" "position-key" "env" "MESH_POSITION_KEY") -}}
{{- end -}}

{{/* Whoever limits rates shares them with the other replicas. */}}
{{- define "mesh.limitsEnv" -}}
{{- include "mesh.keyEnv" (dict "root" . "value" "peerKey" "secret" "peer-key" "env" "MESH_PEER_KEY") }}
- name: MESH_RATE_LIMIT_FALLBACK
  value: {{ .Values.rateLimitFallback }}
{{- end -}}

{{/* A member of the mesh: whose limits it obeys, and who it is in the list of members. */}}
{{- define "mesh.memberEnv" -}}
- name: MESH_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: MESH_POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: MESH_POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- end -}}

{{- define "mesh.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .uid }}
runAsGroup: {{ .uid }}
fsGroup: {{ .uid }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "mesh.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where pods may run; `values` are those of the workload. */}}
{{- define "mesh.scheduling" -}}
{{- $selector := include "mesh.selector" . | fromYaml -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
- {{- merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" $selector)) | toYaml | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
The pod of a service of ours. Takes root, values (of the workload), component, role (member,
operator), command, env (YAML), admin and, where it has one, http (ports).
*/}}
{{- define "mesh.podTemplate" -}}
{{- $role := .role -}}
{{- $until := add (int .values.preStopSeconds) (int .values.drainSeconds) -}}
{{- if ge $until (int .values.terminationGracePeriodSeconds | int64) }}{{ fail (printf "%s: terminationGracePeriodSeconds (%d) of %s has to be more than preStopSeconds and drainSeconds together (%d): the pod would be killed before it has finished" .root.Chart.Name (int .values.terminationGracePeriodSeconds) .component $until) }}{{ end -}}
metadata:
  labels: {{- include "mesh.labels" . | nindent 4 }}
    mesh.distributedai.io/role: {{ $role }}
    {{- with .values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with .values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "mesh.pullSecrets" .root | nindent 2 }}
  serviceAccountName: {{ include "mesh.serviceAccount" .root | quote }}
  automountServiceAccountToken: true # it watches policies
  # A Service called mesh-user-service would set MESH_USER_SERVICE_PORT, which is ours.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
  securityContext: {{- include "mesh.podSecurity" (dict "uid" 10001) | nindent 4 }}
  {{- include "mesh.scheduling" . | nindent 2 }}
  containers:
  - name: {{ .component }}
    image: {{ include "mesh.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [{{ .command }}]
    env:
    - {name: MESH_TENANTS, value: kubernetes}
    - {name: MESH_HOST, value: 0.0.0.0}
    - {name: MESH_ADMIN_PORT, value: {{ .admin | quote }}}
    - {name: MESH_LOG_FORMAT, value: json}
    - {name: MESH_LOG_LEVEL, value: {{ .root.Values.logLevel }}}
    {{- if .http }}
    - {name: MESH_DRAIN_SECONDS, value: {{ .values.drainSeconds | quote }}}
    {{- end }}
    {{- .env | nindent 4 }}
    {{- with .values.extraEnv }}{{ toYaml . | nindent 4 }}{{ end }}
    ports:
    {{- if .http }}
    - {name: http, containerPort: {{ .http }}}
    {{- end }}
    - {name: admin, containerPort: {{ .admin }}}
    startupProbe:
      httpGet: {path: /livez, port: admin}
      periodSeconds: 1
      timeoutSeconds: 2
      failureThreshold: 120
    livenessProbe:
      httpGet: {path: /livez, port: admin}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /readyz, port: admin}
      periodSeconds: 3
      timeoutSeconds: 3
      failureThreshold: 2
    {{- with .values.preStopSeconds }}
    # Until everybody has learnt that no new requests go here.
    lifecycle: {preStop: {sleep: {seconds: {{ . }}}}}
    {{- end }}
    {{- with .values.resources }}
    resources: {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext: {{- include "mesh.containerSecurity" . | nindent 6 }}
    volumeMounts:
    - {name: tmp, mountPath: /tmp}
    {{- if .caSecret }}
    - {name: kafka-ca, mountPath: /etc/mesh/kafka, readOnly: true}
    {{- end }}
  volumes:
  - {name: tmp, emptyDir: {}}
  {{- if .caSecret }}
  - name: kafka-ca
    secret:
      secretName: {{ .caSecret | quote }}
      items: [{key: {{ .caKey | quote }}, path: ca.crt}]
  {{- end }}
{{- end -}}

{{/* The rules of NetworkPolicies. */}}
{{- define "mesh.egressDNS" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end -}}

{{- define "mesh.egressAPIServer" -}}
{{- $policy := .Values.networkPolicy -}}
- ports:
  {{- range $policy.apiServerPorts }}
  - {port: {{ . }}, protocol: TCP}
  {{- end }}
  {{- with $policy.apiServerCIDRs }}
  to:
  {{- range . }}
  - ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* From a member or the operator to the admin ports of members. */}}
{{- define "mesh.egressMembers" -}}
- to:
  - podSelector:
      matchLabels: {app.kubernetes.io/instance: {{ .Release.Name | quote }}, mesh.distributedai.io/role: member}
  ports: [{port: 9081, protocol: TCP}, {port: 9091, protocol: TCP}, {port: 9092, protocol: TCP}]
{{- end -}}

{{- define "mesh.ingressAdmin" -}}
- from:
  {{- if eq .role "member" }}
  - podSelector:
      matchLabels: {app.kubernetes.io/instance: {{ .root.Release.Name | quote }}}
      matchExpressions: [{key: mesh.distributedai.io/role, operator: In, values: [member, operator]}]
  {{- end }}
  {{- with .root.Values.networkPolicy.metricsFrom }}{{ toYaml . | nindent 2 }}{{ end }}
  ports: [{port: {{ .admin }}, protocol: TCP}]
{{- end -}}

{{- define "mesh.ingressPublic" -}}
- ports: [{port: {{ .http }}, protocol: TCP}]
  {{- with .root.Values.networkPolicy.publicFrom }}
  from: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* To brokers: those of this release, and whatever has the ports that others are named with. */}}
{{- define "mesh.egressKafka" -}}
{{- $own := list -}}
{{- $others := list -}}
{{- range (include "mesh.kafka" . | fromYaml).bootstrapServers | splitList "," -}}
{{- $rule := dict "port" (regexFind "[0-9]+$" . | int) "protocol" "TCP" -}}
{{- if include "mesh.isOwn" (dict "root" $ "engine" "redpanda" "address" .) -}}
{{- $own = append $own $rule -}}
{{- else -}}
{{- $others = append $others $rule -}}
{{- end -}}
{{- end -}}
{{- $rules := list -}}
{{- with $own -}}
{{- $labels := dict "app.kubernetes.io/instance" $.Release.Name "app.kubernetes.io/name" "redpanda" -}}
{{- $rules = append $rules (dict "ports" (. | uniq) "to" (list (dict "podSelector" (dict "matchLabels" $labels)))) -}}
{{- end -}}
{{- with $others -}}
{{- $rules = append $rules (dict "ports" (. | uniq)) -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{- define "mesh.egressQdrant" -}}
{{- $url := urlParse (include "mesh.qdrant" . | fromYaml).url -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
- ports: [{port: {{ $port }}, protocol: TCP}]
  {{- if include "mesh.isOwn" (dict "root" $ "engine" "qdrant" "address" (printf "%s:%s" ($url.host | trimSuffix (printf ":%s" $port)) $port)) }}
  to:
  - podSelector:
      matchLabels: {app.kubernetes.io/instance: {{ .Release.Name | quote }}, app.kubernetes.io/name: qdrant}
  {{- end }}
{{- end -}}

{{/* Objects that several workloads have. Take root, values, component and, of a workload, its name. */}}
{{- define "mesh.podDisruptionBudget" -}}
{{- if .values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels: {{- include "mesh.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "mesh.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "mesh.autoscaler" -}}
{{- if .values.autoscaling.enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels: {{- include "mesh.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .name }}}
  minReplicas: {{ .values.autoscaling.minReplicas }}
  maxReplicas: {{ .values.autoscaling.maxReplicas }}
  metrics:
  - type: Resource
    resource:
      name: cpu
      target: {type: Utilization, averageUtilization: {{ .values.autoscaling.targetCPUUtilization }}}
{{- end }}
{{- end -}}

{{- define "mesh.serviceMonitor" -}}
{{- $monitor := .root.Values.serviceMonitor -}}
{{- if $monitor.enabled }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}-admin
  labels: {{- include "mesh.labels" . | nindent 4 }}
    mesh.distributedai.io/port: admin
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {{- include "mesh.selector" . | nindent 4 }}
  ports: [{name: admin, port: {{ .admin }}, targetPort: admin}]
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ .name }}
  labels: {{- include "mesh.labels" . | nindent 4 }}
    {{- with $monitor.labels }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  selector:
    matchLabels: {{- include "mesh.selector" . | nindent 6 }}
      mesh.distributedai.io/port: admin
  endpoints:
  - {port: admin, path: /metrics, interval: {{ $monitor.interval }}}
{{- end }}
{{- end -}}

{{/* How a public port is reached from outside of the cluster. */}}
{{- define "mesh.routes" -}}
{{- $values := .root.Values -}}
{{- if $values.ingress.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .name }}
  labels: {{- include "mesh.labels" . | nindent 4 }}
  {{- with $values.ingress.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $values.ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with $values.ingress.tls }}
  tls: {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
  - {{- with $values.ingress.host }}
    host: {{ . | quote }}
    {{- end }}
    http:
      paths:
      - path: {{ $values.ingress.path | quote }}
        pathType: Prefix
        backend: {service: {name: {{ .name }}, port: {name: http}}}
{{- end }}
{{- if $values.httpRoute.enabled }}
{{- if not $values.httpRoute.parentRefs }}{{ fail (printf "%s: httpRoute.enabled needs httpRoute.parentRefs: a route without a Gateway is served by nobody" .root.Chart.Name) }}{{ end }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ .name }}
  labels: {{- include "mesh.labels" . | nindent 4 }}
  {{- with $values.httpRoute.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  parentRefs: {{- toYaml $values.httpRoute.parentRefs | nindent 4 }}
  {{- with $values.httpRoute.hostnames }}
  hostnames: {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
  - backendRefs: [{name: {{ .name }}, port: {{ $values.service.port }}}]
{{- end }}
{{- end -}}

{{/* `helm test`: a pod that asks a public port for its health, and says what came. */}}
{{- define "mesh.healthTest" -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ .name }}-test
  labels:
    app.kubernetes.io/part-of: event-mesh
    app.kubernetes.io/component: test
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  {{- include "mesh.pullSecrets" .root | nindent 2 }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  restartPolicy: Never
  securityContext: {{- include "mesh.podSecurity" (dict "uid" 10001) | nindent 4 }}
  containers:
  - name: test
    image: {{ include "mesh.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [python, -c]
    args:
    - |
      import urllib.request
      for path in ("/health", "/openapi.json"):
          with urllib.request.urlopen("http://{{ .name }}:{{ .root.Values.service.port }}" + path, timeout=10) as answer:
              print(path, answer.status)
    securityContext: {{- include "mesh.containerSecurity" . | nindent 6 }}
    resources:
      requests: {cpu: 10m, memory: 32Mi}
      limits: {memory: 128Mi}
{{- end -}}

{{/* The volume that the pods of an engine keep. */}}
{{- define "mesh.claim" -}}
{{- if .Values.persistence.enabled }}
volumeClaimTemplates:
- metadata: {name: data}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .Values.persistence.storageClassName }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources: {requests: {storage: {{ .Values.persistence.size }}}}
{{- end }}
{{- end -}}
