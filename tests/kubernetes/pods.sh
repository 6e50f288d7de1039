# shellcheck shell=bash
# Pods that pull with the token of their service account, and with no stored secret: docs/pods.md on a
# real kubelet. tests/kubernetes/run sources this file.

# The registry of these pods, under a name that nothing else of the run uses.
pods_registry=pods.example.com
pods_manifests=deploy/kubernetes-credential-provider

# prepare_pods PROGRAM: what a node gets before its kubelet starts.
prepare_pods() {
  mkdir -p "$node/providers"
  install -m 755 "$1" "$node/providers/longshore"
  sed "s/registry\.example\.com/$pods_registry/" $pods_manifests/credential-provider.yaml >"$node/providers/credential-provider.yaml"
}

in_namespace() { kubectl --kubeconfig "$node/kubeconfig" --namespace "$@"; }

run_pod() { in_namespace "$1" run "$2" --image "$pods_registry/shop/hello:v1" --restart Never --image-pull-policy Always >/dev/null; }

# refused_with STATUS NAMESPACE: whether a pull in this namespace has failed with this status.
refused_with() {
  in_namespace "$2" get events --field-selector reason=Failed -o jsonpath='{.items[*].message}' | grep -q "$1"
}

# discovered NAME: what the cluster says of its tokens.
discovered() { in_namespace default get --raw /.well-known/openid-configuration | jq -r ".$1"; }

# start_pods_registry NAME PROGRAM ISSUER: the issuer is a part of the settings.
start_pods_registry() {
  local folder=$process_scratch/pods
  cat >"$folder/$1.toml" <<T
[server]
listen = "$pods_address"
[store]
url = "$folder/data"
[access]
htpasswd_file = "$folder/users"
[[access.issuers]]
name = "cluster"
audience = "$pods_registry"
$3
[[access.rules]]
subject = "user:$login_user"
repositories = "**"
actions = ["pull", "push"]
[[access.rules]]
subject = "issuer:cluster sub=system:serviceaccount:shop:*"
repositories = "shop/**"
actions = "pull"
T
  start_process "$1" "$2" serve --config "$folder/$1.toml"
  wait_until "$1" grep -q 'listening on' "$process_log"
}

# walk_pods PROGRAM ARCHIVE
walk_pods() {
  local folder=$process_scratch/pods namespace
  mkdir -p "$folder" "$node/certs.d/$pods_registry"
  choose_address
  pods_address=$address
  printf 'server = "http://%s"\n[host."http://%s"]\n  capabilities = ["pull", "resolve"]\n' "$address" "$address" >"$node/certs.d/$pods_registry/hosts.toml"
  htpasswd_line >"$folder/users"
  sed "s/registry\.example\.com/$pods_registry/" $pods_manifests/rbac.yaml | in_namespace default apply -f - >/dev/null
  in_namespace default auth can-i request-serviceaccounts-token-audience "$pods_registry" \
    --as system:node:node-1 --as-group system:nodes >/dev/null 2>&1 || fail 'a node may not ask for tokens of the audience'
  in_namespace default get --raw /openid/v1/jwks >"$folder/jwks.json"
  for namespace in shop other; do
    in_namespace default create namespace "$namespace" >/dev/null
    until_true 30 "the service account of $namespace" in_namespace "$namespace" get serviceaccount default
  done

  start_pods_registry pods-keys-in-a-file "$1" "url = \"$(discovered issuer)\"
jwks_file = \"$folder/jwks.json\""
  export DOCKER_CONFIG=$folder/docker
  crane auth login "$pods_address" --username "$login_user" --password "$login_password" >/dev/null 2>&1
  crane push --insecure "$2" "$pods_address/shop/hello:v1" >/dev/null 2>&1
  run_pod shop hello
  run_pod other hello
  in_namespace shop wait pod/hello --for jsonpath='{.status.phase}'=Succeeded --timeout 90s >/dev/null
  in_namespace shop logs hello | grep -qx 'pulled from longshore' || fail 'the pod did not run what was pushed'
  [ -z "$(in_namespace shop get pods,serviceaccounts,secrets -o jsonpath='{..imagePullSecrets}{..dockerconfigjson}')" ] ||
    fail 'there is a stored secret'
  grep -q 'issuer:cluster:system:serviceaccount:shop:default' "$process_log" || fail 'another caller has pulled'
  ok 'a pod pulls with the token of its service account, without a stored secret'
  until_true 60 'a pod of another namespace is refused' refused_with '403 Forbidden' other
  [ "$(in_namespace other get pod hello -o jsonpath='{.status.phase}')" = Pending ] || fail 'it runs'
  ok 'a pod of another namespace is refused with 403'
  stop_process "$process_id"

  # The keys from the API server, which wants a login.
  echo node-token >"$folder/token"
  start_pods_registry pods-discovered-keys "$1" "url = \"$(discovered issuer)\"
ca_file = \"$node/certs/apiserver.crt\"
bearer_token_file = \"$folder/token\""
  run_pod shop again
  in_namespace shop wait pod/again --for jsonpath='{.status.phase}'=Succeeded --timeout 90s >/dev/null
  grep -q 'issuer:cluster:system:serviceaccount:shop:default' "$process_log" || fail 'another caller has pulled'
  ok 'the same with keys that Longshore has fetched from the cluster'
  in_namespace default delete namespace shop other --wait=false >/dev/null
  stop_process "$process_id"
}
