{{- define "kube-vrrp.speaker.daemonset" -}}
{{- with .Values.speaker -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "kube-vrrp.fullname" $ }}-speaker
  labels:
    {{- include "kube-vrrp.selectorLabels" $ | nindent 4 }}
    app.kubernetes.io/component: speaker
    {{- with .labels }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  updateStrategy:
    type: OnDelete
  selector:
    matchLabels:
      {{- include "kube-vrrp.selectorLabels" $ | nindent 6 }}
      app.kubernetes.io/component: speaker
  template:
    metadata:
      {{- with .podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
      labels:
        {{- include "kube-vrrp.selectorLabels" $ | nindent 8 }}
        app.kubernetes.io/component: speaker
        {{- with .labels }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      hostNetwork: true
      {{- if .hostPID }}
      hostPID: true
      {{- end }}
      dnsPolicy: ClusterFirstWithHostNet
      serviceAccountName: {{ include "kube-vrrp.speaker.serviceAccount" $ }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with $.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .priorityClassName }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      {{- with .runtimeClassName }}
      runtimeClassName: {{ . | quote }}
      {{- end }}
      terminationGracePeriodSeconds: {{ .terminationGracePeriodSeconds }}
      securityContext: {{- toYaml .securityContext | nindent 8 }}
      containers:
        - name: router
          image: {{ include "kube-vrrp.speaker.image" $ }}
          imagePullPolicy: {{ .image.pullPolicy }}
          command: [vip-speaker, router]
          args:
            - --config=/run/kube-vrrp/desired
            - --state-dir=/run/kube-vrrp/state
            - --node=$(NODE_NAME)
            - --grace={{ sub .terminationGracePeriodSeconds 3 }}
            - --files-root=/host
            {{- range .hostFiles }}
            - --files-dir={{ . }}
            {{- end }}
            {{- if .scripts.enabled }}
            - --checks-socket=/run/kube-vrrp/checks/sock
            {{- end }}
            - --log-level={{ .logLevel }}
          env:
            # for `kubectl exec … -- vip-speaker status`
            - name: KUBE_VRRP_STATE_DIR
              value: /run/kube-vrrp/state
            - name: NODE_NAME
              valueFrom:
                fieldRef:
                  fieldPath: spec.nodeName
          securityContext:
            runAsUser: 0
            runAsGroup: 0
            runAsNonRoot: false
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
              add: [NET_ADMIN, NET_RAW{{ if .realtime }}, SYS_NICE, IPC_LOCK{{ end }}]
          resources: {{- toYaml .router.resources | nindent 12 }}
          volumeMounts:
            - name: desired
              mountPath: /run/kube-vrrp/desired
            - name: state
              mountPath: /run/kube-vrrp/state
            {{- if .scripts.enabled }}
            - name: checks
              mountPath: /run/kube-vrrp/checks
              readOnly: true
            {{- end }}
            {{- range $index, $directory := .hostFiles }}
            - name: host-{{ $index }}
              mountPath: /host{{ $directory }}
              readOnly: true
              mountPropagation: HostToContainer
            {{- end }}
        - name: agent
          image: {{ include "kube-vrrp.speaker.image" $ }}
          imagePullPolicy: {{ .image.pullPolicy }}
          command: [vip-speaker, agent]
          args:
            - --node=$(NODE_NAME)
            - --namespace={{ $.Release.Namespace }}
            - --desired-dir=/run/kube-vrrp/desired
            - --state-dir=/run/kube-vrrp/state
            - --metrics-address=$(HOST_IP):{{ $.Values.prometheus.speakerMetricsPort }}
            - --log-level={{ .logLevel }}
          env:
            - name: NODE_NAME
              valueFrom:
                fieldRef:
                  fieldPath: spec.nodeName
            - name: HOST_IP
              valueFrom:
                fieldRef:
                  fieldPath: status.hostIP
          ports:
            - name: metrics
              containerPort: {{ $.Values.prometheus.speakerMetricsPort }}
          securityContext:
            runAsUser: 65532
            runAsGroup: 65532
            runAsNonRoot: true
            {{- include "kube-vrrp.unprivileged" $ | nindent 12 }}
          resources: {{- toYaml .agent.resources | nindent 12 }}
          volumeMounts:
            - name: desired
              mountPath: /run/kube-vrrp/desired
            - name: state
              mountPath: /run/kube-vrrp/state
            - name: token
              mountPath: /var/run/secrets/kubernetes.io/serviceaccount
              readOnly: true
        {{- if .scripts.enabled }}
        - name: checks
          image: {{ include "kube-vrrp.speaker.image" $ }}
          imagePullPolicy: {{ .image.pullPolicy }}
          command: [vip-speaker, checks]
          args:
            - --socket=/run/kube-vrrp/checks/sock
            - --scripts-dir=/scripts
          securityContext:
            # A user of its own: with hostPID a script could otherwise signal the agent
            runAsUser: 65533
            runAsGroup: 65533
            runAsNonRoot: true
            {{- include "kube-vrrp.unprivileged" $ | nindent 12 }}
          resources: {{- toYaml .scripts.resources | nindent 12 }}
          volumeMounts:
            - name: checks
              mountPath: /run/kube-vrrp/checks
            - name: scripts
              mountPath: /scripts
              readOnly: true
        {{- end }}
        {{- with .extraContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      volumes:
        # In memory, so that they end with the pod: nothing stale comes back after a reboot
        - name: desired
          emptyDir:
            medium: Memory
            sizeLimit: 16Mi
        - name: state
          emptyDir:
            medium: Memory
            sizeLimit: 16Mi
        {{- if .scripts.enabled }}
        # The socket by which the router asks for checks
        - name: checks
          emptyDir:
            medium: Memory
            sizeLimit: 1Mi
        - name: scripts
          {{- if .scripts.configMap }}
          configMap:
            name: {{ .scripts.configMap }}
            defaultMode: 0555
            # A script that is missing is a failed check; a pod that waits for it would serve nothing
            optional: true
          {{- else }}
          hostPath:
            path: {{ .scripts.hostPath }}
            type: DirectoryOrCreate
          {{- end }}
        {{- end }}
        {{- range $index, $directory := .hostFiles }}
        - name: host-{{ $index }}
          hostPath:
            path: {{ $directory }}
            type: DirectoryOrCreate
        {{- end }}
        # For the agent alone
        - name: token
          projected:
            sources:
              - serviceAccountToken:
                  path: token
                  # 3607, the usual number, has the API server hand out a token that lives for a year
                  expirationSeconds: 3600
              - configMap:
                  name: kube-root-ca.crt
                  items:
                    - key: ca.crt
                      path: ca.crt
              - downwardAPI:
                  items:
                    - path: namespace
                      fieldRef:
                        fieldPath: metadata.namespace
{{- end }}
{{- end }}
