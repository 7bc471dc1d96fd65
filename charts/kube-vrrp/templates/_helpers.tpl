{{- define "kube-vrrp.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "kube-vrrp.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "kube-vrrp.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "kube-vrrp.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "kube-vrrp.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kube-vrrp.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kube-vrrp.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "kube-vrrp.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "kube-vrrp.operator.serviceAccount" -}}
{{- if .Values.operator.serviceAccount.create }}
{{- default (printf "%s-operator" (include "kube-vrrp.fullname" .)) .Values.operator.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.operator.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "kube-vrrp.speaker.serviceAccount" -}}
{{- if .Values.speaker.serviceAccount.create }}
{{- default (printf "%s-speaker" (include "kube-vrrp.fullname" .)) .Values.speaker.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.speaker.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "kube-vrrp.image" -}}
{{- with .image }}
{{- .repository }}{{ with .digest }}@{{ . }}{{ else }}:{{ .tag | default $.root.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "kube-vrrp.operator.image" -}}
{{ include "kube-vrrp.image" (dict "image" .Values.operator.image "root" .) }}
{{- end }}

{{- define "kube-vrrp.speaker.image" -}}
{{ include "kube-vrrp.image" (dict "image" .Values.speaker.image "root" .) }}
{{- end }}

{{- /* What a container of ours that needs no privilege at all is run with. */}}
{{- define "kube-vrrp.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The pod of a hook or a test: the operator's image and rights, one command. `anywhere`: on any node that can start
it, also a cordoned one or the control plane's. A node that is dead has taints that are not tolerated: there the pod
would neither begin nor end. Where the operator runs, its image is. */}}
{{- define "kube-vrrp.operator.pod" -}}
serviceAccountName: {{ include "kube-vrrp.operator.serviceAccount" .root }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml .root.Values.operator.securityContext | nindent 2 }}
restartPolicy: Never
{{- if .anywhere }}
tolerations:
  {{- range list "node.kubernetes.io/unschedulable" "node-role.kubernetes.io/control-plane" "node-role.kubernetes.io/master" }}
  - key: {{ . }}
    operator: Exists
    effect: NoSchedule
  {{- end }}
  {{- with .root.Values.operator.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
affinity:
  podAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "kube-vrrp.selectorLabels" .root | nindent 14 }}
              app.kubernetes.io/component: operator
{{- else }}
{{- with .root.Values.operator.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.operator.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
