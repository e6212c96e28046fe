{{/*
The configuration as the program reads it, and the secrets that it names:
{config: …, mounted: {<Secret>: [<key>, …]}, own: {<key>: <text>}}
*/}}
{{- define "gateway.resolved" -}}
{{- $config := deepCopy .Values.config -}}
{{- $found := dict "mounted" dict "own" dict -}}
{{- include "gateway.placeSecrets" (dict "node" $config "path" "config" "found" $found "root" .) -}}
{{- $servers := list -}}
{{- range $domain, $settings := $config.ocmServers -}}
{{- $servers = append $servers (merge (dict "domain" $domain) $settings) -}}
{{- end -}}
{{- $webapps := list -}}
{{- range $name, $settings := $config.webapps -}}
{{- $webapps = append $webapps (merge (dict "name" $name) $settings) -}}
{{- end -}}
{{- $_ := set $config "ocmServers" $servers -}}
{{- $_ := set $config "webapps" $webapps -}}
{{- if not $config.server.signingKeyFile -}}
{{- $_ := set $config.server "signingKeyFile" "/data/signing-key.json" -}}
{{- end -}}
{{- dict "config" $config "mounted" $found.mounted "own" $found.own | toYaml -}}
{{- end -}}

{{/* Puts paths where secrets are named, below `node`, and drops what is null. */}}
{{- define "gateway.placeSecrets" -}}
{{- $at := . -}}
{{- range $key, $value := .node -}}
{{- $path := printf "%s.%s" $at.path $key -}}
{{- $isSource := and (kindIs "map" $value) (or (hasKey (default dict $value) "existingSecret") (hasKey (default dict $value) "value")) -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $at.node $key -}}
{{- else if and $isSource (hasSuffix "File" $key) -}}
{{- $_ := set $at.node $key (include "gateway.secretPath" (dict "source" $value "path" $path "found" $at.found "root" $at.root)) -}}
{{- else if kindIs "map" $value -}}
{{- include "gateway.placeSecrets" (dict "node" $value "path" $path "found" $at.found "root" $at.root) -}}
{{- else if and (kindIs "slice" $value) (hasSuffix "Files" $key) -}}
{{- $paths := list -}}
{{- range $index, $source := $value -}}
{{- if kindIs "map" $source -}}
{{- $paths = append $paths (include "gateway.secretPath" (dict "source" $source "path" (printf "%s.%d" $path $index) "found" $at.found "root" $at.root)) -}}
{{- else -}}
{{- $paths = append $paths $source -}}
{{- end -}}
{{- end -}}
{{- $_ := set $at.node $key $paths -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where one secret is mounted; notes in `found` what has to be there. */}}
{{- define "gateway.secretPath" -}}
{{- $source := .source -}}
{{- if and $source.existingSecret $source.value -}}
{{- fail (printf "%s has two sources: existingSecret and value (keep one of them)" .path) -}}
{{- end -}}
{{- if and $source.existingSecret (not $source.key) -}}
{{- fail (printf "%s names the Secret %s without a key (add key: …)" .path $source.existingSecret) -}}
{{- end -}}
{{- if not (or $source.existingSecret $source.value) -}}
{{- fail (printf "%s is empty (must have existingSecret and key, or value)" .path) -}}
{{- end -}}
{{- $secret := default (include "gateway.fullname" .root) $source.existingSecret -}}
{{- $key := default (regexReplaceAll "[^-._a-zA-Z0-9]" (trimPrefix "config." .path) "_") $source.key -}}
{{- if $source.value -}}
{{- $_ := set .found.own $key $source.value -}}
{{- end -}}
{{- $_ := set .found.mounted $secret (append (default list (get .found.mounted $secret)) $key | uniq | sortAlpha) -}}
{{- printf "/run/secrets/ocm-gateway/%s/%s" $secret $key -}}
{{- end -}}

{{- define "gateway.usesRedis" -}}
{{- if regexMatch "^redis(s|[+]sentinel)?:" .Values.config.store -}}true{{- end -}}
{{- end -}}

{{/* The program's durations as seconds; 0 for what is less than one, or not of that form. */}}
{{- define "gateway.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int -}}
{{- $unit := regexFind "(s|m|h|d)$" . -}}
{{- if hasSuffix "ms" . }}{{ div $number 1000 }}{{ else }}{{ mul $number (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) $unit | default 0) }}{{ end -}}
{{- end -}}

{{/* What cannot work is refused here, each with what would be right. */}}
{{- define "gateway.guards" -}}
{{- $server := .Values.config.server -}}
{{- $config := (include "gateway.resolved" . | fromYaml).config -}}
{{- $redis := include "gateway.usesRedis" . -}}
{{- if not $server.publicUrl -}}
{{- fail "config.server.publicUrl is missing (must be this gateway as OCM servers and browsers see it, such as https://apps.example.org)" -}}
{{- end -}}
{{- if not $config.ocmServers -}}
{{- fail "config.ocmServers is empty (name the OCM servers whose shares are served, such as cloud.example.org: { modes: [provisioned] })" -}}
{{- end -}}
{{- if not $config.webapps -}}
{{- fail "config.webapps is empty (name the apps that shares open)" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not $redis) -}}
{{- fail (printf "autoscaling.enabled needs Redis (config.store is %s; must be a redis:// URL)" .Values.config.store) -}}
{{- end -}}
{{- if and (gt (int .Values.replicaCount) 1) (not $redis) -}}
{{- fail (printf "replicaCount %d needs Redis (config.store is %s; must be a redis:// URL, or replicaCount 1)" (int .Values.replicaCount) .Values.config.store) -}}
{{- end -}}
{{- if and $redis (not $server.signingKeyFile) -}}
{{- fail "config.server.signingKeyFile is missing (with Redis all pods sign with one key: put the output of `ocm-gateway keys generate` into a Secret and name it, { existingSecret: …, key: … })" -}}
{{- end -}}
{{- if regexMatch "^redis[^/]*//[^/@]*:[^/@$]" .Values.config.store | and (contains "@" .Values.config.store) -}}
{{- fail "config.store has a password in it, and a ConfigMap is not secret (leave it out, and name its Secret in config.storePasswordFile)" -}}
{{- end -}}
{{- $grace := add (int .Values.preStopSleepSeconds) (include "gateway.seconds" (default "0s" $server.drainDelay)) (include "gateway.seconds" (default "10s" $server.drainTimeout)) -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int $grace) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d (must be more than %d: preStopSleepSeconds, drainDelay and drainTimeout together)" (int .Values.terminationGracePeriodSeconds) (int $grace)) -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty (name the Gateway to attach to)" -}}
{{- end -}}
{{- end -}}
