{{- define "gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "gateway.fullname" -}}
{{- $name := include "gateway.name" . -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $both .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{/* Names and labels of a resource; `component` tells the few apart that are not the gateway's pods. */}}
{{- define "gateway.metadata" -}}
{{- $root := .root -}}
name: {{ include "gateway.fullname" $root }}{{ .suffix }}
namespace: {{ $root.Release.Namespace }}
labels:
  helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
  app.kubernetes.io/name: {{ include "gateway.name" $root }}
  app.kubernetes.io/instance: {{ $root.Release.Name }}
  app.kubernetes.io/component: {{ default "gateway" .component }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
  {{- with merge (dict) (default dict .labels) $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default dict .annotations) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "gateway.image" -}}
{{- with .Values.image -}}
{{- $tag := default $.Chart.AppVersion .tag -}}
{{- with .registry }}{{ . }}/{{ end -}}
{{- .repository -}}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "gateway.serviceAccountName" -}}
{{- $own := ternary (include "gateway.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{/* The port at the end of an address such as 0.0.0.0:8080. */}}
{{- define "gateway.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{/* http, or https when the gateway has a certificate of its own: the name of the public port. */}}
{{- define "gateway.scheme" -}}
{{- ternary "https" "http" (not (empty .Values.config.server.tls)) -}}
{{- end -}}

{{- define "gateway.servicePort" -}}
{{- default (ternary 443 80 (eq (include "gateway.scheme" .) "https")) .Values.service.port | int -}}
{{- end -}}

{{/* Every host that browsers and OCM servers use, sorted: {hosts: […]}. */}}
{{- define "gateway.hosts" -}}
{{- $urls := list .Values.config.server.publicUrl -}}
{{- range (include "gateway.resolved" . | fromYaml).config.webapps -}}
{{- $urls = append $urls .publicUrl -}}
{{- end -}}
{{- $hosts := .Values.ingress.extraHosts -}}
{{- range $urls -}}
{{- $hosts = append $hosts (urlParse .).hostname -}}
{{- end -}}
{{- dict "hosts" ($hosts | uniq | sortAlpha) | toYaml -}}
{{- end -}}
