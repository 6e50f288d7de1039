# shellcheck shell=bash
# containerd, started for one script and ended with it. Sourced after checks.sh.

# start_containerd NAME: one with an empty store, so that whatever it has afterwards it has pulled.
containerd_ids=()
start_containerd() {
  local folder=$scratch/$1 tries
  mkdir -p "$folder"
  cat >"$folder/config.toml" <<END
version = 3
root = "$folder/root"
state = "$folder/state"
temp = "$folder/temp"
imports = []
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]
[grpc]
  address = "$folder/containerd.sock"
[ttrpc]
  address = "$folder/containerd.sock.ttrpc"
[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = "linux"
  snapshotter = "native"
END
  containerd -c "$folder/config.toml" >"$folder/log" 2>&1 &
  containerd_ids+=("$!")
  export CONTAINERD_ADDRESS=$folder/containerd.sock CONTAINERD_SNAPSHOTTER=native
  for ((tries = 0; tries < 300; tries++)); do
    if ctr version >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  tail -n 20 "$folder/log" >&2
  fail 'containerd did not start'
}

stop_containerds() {
  local id
  for id in "${containerd_ids[@]}"; do
    kill "$id" 2>/dev/null
    wait "$id" 2>/dev/null
  done
  # What is still mounted below would be emptied with the folder.
  awk -v folder="$scratch/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount
}
