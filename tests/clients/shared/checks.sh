# shellcheck shell=bash
# What every client's script shares: a home of its own, loud failures, and a second opinion on what
# the registry holds, taken with curl so that no client judges its own work.
#
# A script sources this file with the address of the registry as its argument, calls `begin NAME`, and
# prints one `ok` line for each thing that it has seen to be true. The first failure ends it.
set -euo pipefail

checks_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository_root=$(cd "$checks_folder/../../.." && pwd)
if [ $# -ne 1 ]; then
  echo "usage: $0 ADDRESS      host:port of a registry that speaks plain HTTP" >&2
  exit 2
fi
registry=$1

# begin CLIENT: an empty home, so that no configuration or cache of this machine takes part, and names
# of repositories that no other run has used.
begin() {
  client=$1
  scratch=$(mktemp -d)
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  home=$scratch/home
  mkdir -p "$home"
  export PATH="$repository_root/target/tools/bin:$PATH"
  # Go keeps its build cache below HOME, and a cold cache makes the fixture slow.
  local go_cache
  go_cache=$(go env GOCACHE)
  export GOCACHE=$go_cache HOME=$home TMPDIR=$scratch
  export XDG_CONFIG_HOME=$home/.config XDG_CACHE_HOME=$home/.cache XDG_DATA_HOME=$home/.local/share
  export XDG_RUNTIME_DIR=$scratch/runtime
  mkdir -p "$XDG_CONFIG_HOME" "$XDG_CACHE_HOME" "$XDG_DATA_HOME" "$XDG_RUNTIME_DIR"
  unset REGISTRY_AUTH_FILE DOCKER_CONFIG
  # A client that asks a proxy for 127.0.0.1 would not be testing this registry.
  unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy ALL_PROXY all_proxy
  repository=clients/$client-$(date +%s)-$$
  image=$registry/$repository
  # The functions below leave their results in these.
  output='' stored_digest='' stored_type=''
}

# A script that started something of its own redefines `stop_servers`.
stop_servers() { :; }

finish() {
  local status=$?
  trap - EXIT
  set +e
  stop_servers
  rm -rf "$scratch"
  exit "$status"
}

ok() { echo "ok $client: $*"; }

fail() {
  echo "not ok $client: $*" >&2
  exit 1
}

# run COMMAND...: leaves its standard output in `output`; a failure shows all that it said.
run() {
  local status=0
  output=$(timeout --kill-after=10 "${CLIENT_SECONDS:-180}" "$@" 2>"$scratch/errors") || status=$?
  if [ "$status" -ne 0 ]; then
    printf '%s\n' "$output" >&2
    cat "$scratch/errors" >&2
    fail "exit status $status from: $*"
  fi
}

# refused PATTERN COMMAND...: it must fail, and say why in words that match the pattern, so that a
# wrong option does not pass for a refusal by the registry.
refused() {
  local pattern=$1
  shift
  if output=$(timeout --kill-after=10 "${CLIENT_SECONDS:-180}" "$@" 2>&1); then
    printf '%s\n' "$output" >&2
    fail "this must not work: $*"
  fi
  if ! grep -qiE "$pattern" <<<"$output"; then
    printf '%s\n' "$output" >&2
    fail "no word of '$pattern' from: $*"
  fi
}

# same WHAT EXPECTED ACTUAL
same() {
  if [ "$2" != "$3" ] || [ -z "$2" ]; then
    printf '  expected: %s\n  actual:   %s\n' "$2" "$3" >&2
    fail "$1 differs"
  fi
}

# same_files WHAT EXPECTED ACTUAL: two files or two folders, byte for byte.
same_files() {
  if ! diff -r "$2" "$3" >&2; then fail "$1 differs"; fi
}

# has WHAT LINES LINE: LINE is one of LINES.
has() {
  if ! grep -qxF -- "$3" <<<"$2"; then
    printf '%s\n' "$2" >&2
    fail "$1 lacks $3"
  fi
}

# lacks WHAT LINES LINE
lacks() {
  if grep -qxF -- "$3" <<<"$2"; then
    printf '%s\n' "$2" >&2
    fail "$1 still holds $3"
  fi
}

# digest_of FILE [ALGORITHM]
digest_of() {
  local algorithm=${2:-sha256} sum
  sum=$("${algorithm}sum" <"$1")
  echo "$algorithm:${sum%% *}"
}

manifest_types='application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json'
manifest_types+=', application/vnd.docker.distribution.manifest.v2+json'
manifest_types+=', application/vnd.docker.distribution.manifest.list.v2+json'

# stored REPOSITORY REFERENCE: fetches the manifest as it lies in the registry into
# $scratch/stored.json, proves its digest, and leaves `stored_digest` and `stored_type`.
stored() {
  local told algorithm output
  run curl -fsS -H "Accept: $manifest_types" -D "$scratch/stored.headers" -o "$scratch/stored.json" \
    "http://$registry/v2/$1/manifests/$2"
  told=$(stored_header docker-content-digest)
  stored_type=$(stored_header content-type)
  algorithm=${told%%:*}
  case $2 in
    # Asked for by a digest, it is proved against that one, whichever digest the header names.
    *:*) algorithm=${2%%:*} ;;
  esac
  stored_digest=$(digest_of "$scratch/stored.json" "$algorithm")
  case $2 in
    *:*) same "the digest of the bytes of $1@$2" "$2" "$stored_digest" ;;
    *) same "the digest of the bytes of $1:$2" "$told" "$stored_digest" ;;
  esac
}

stored_header() {
  tr -d '\r' <"$scratch/stored.headers" | awk -v name="$1:" 'tolower($1) == name { value = $2 } END { print value }'
}

# stored_whole REPOSITORY REFERENCE: the manifest, what it lists, and every blob, each against its
# digest. Leaves `stored_digest` and `stored_type` of the topmost manifest.
stored_whole() {
  local children blobs descriptor top_digest top_type output
  stored "$1" "$2"
  top_digest=$stored_digest top_type=$stored_type
  children=$(jq -r '.manifests[]?.digest' "$scratch/stored.json")
  blobs=$(jq -r '(.config // empty), (.layers[]?) | .digest' "$scratch/stored.json" | sort -u)
  for descriptor in $blobs; do
    run curl -fsSL -o "$scratch/stored.blob" "http://$registry/v2/$1/blobs/$descriptor"
    same "the digest of the bytes of a blob in $1" "$descriptor" "$(digest_of "$scratch/stored.blob" "${descriptor%%:*}")"
  done
  for descriptor in $children; do stored_whole "$1" "$descriptor"; done
  stored_digest=$top_digest stored_type=$top_type
}

# absent REPOSITORY REFERENCE
absent() {
  local output
  run curl -sS -o "$scratch/absent.body" -w '%{http_code}' -H "Accept: $manifest_types" \
    "http://$registry/v2/$1/manifests/$2"
  same "the status of the deleted $1 $2" 404 "$output"
}

# referrers_of REPOSITORY DIGEST: their artifact types, one a line, into `output`.
referrers_of() {
  run curl -fsS "http://$registry/v2/$1/referrers/$2"
  output=$(jq -r '.manifests[] | .artifactType' <<<"$output")
}

# use_container_storage: a storage of this run's own for podman and buildah, with a driver that needs
# nothing of the kernel, and a policy that takes unsigned images.
use_container_storage() {
  export CONTAINERS_STORAGE_CONF=$scratch/storage.conf CONTAINERS_CONF=$scratch/containers.conf
  export BUILDAH_ISOLATION=chroot
  cat >"$CONTAINERS_STORAGE_CONF" <<END
[storage]
driver = "vfs"
graphroot = "$scratch/storage"
runroot = "$scratch/storage-run"
END
  cat >"$CONTAINERS_CONF" <<END
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "$scratch/engine"
static_dir = "$scratch/engine-static"
volume_path = "$scratch/volumes"
END
  mkdir -p "$XDG_CONFIG_HOME/containers"
  echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$XDG_CONFIG_HOME/containers/policy.json"
  echo 'unqualified-search-registries = []' >"$XDG_CONFIG_HOME/containers/registries.conf"
}
