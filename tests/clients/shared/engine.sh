# shellcheck shell=bash
# Docker's engine, started for one script and ended with it. Sourced after checks.sh.

# start_engine: leaves the command in `docker`. With `engine_networks=yes` containers can have networks of
# their own, which changes the packet filter of this machine.
start_engine() {
  local tries filter=(--iptables=false)
  [ "${engine_networks:-no}" = no ] || filter=()
  # Two engines would fight over the same network rules and control groups.
  if [ -z "${engine:-}" ]; then
    exec 9>"$(dirname "$scratch")/longshore-tests-dockerd.lock"
    flock --wait 300 9 || fail 'another engine of these tests has been running for five minutes'
  fi
  engine=$scratch/engine
  mkdir -p "$engine"
  # The command of the same version as the engine; a machine may have a newer one before it in the path.
  docker=(/usr/bin/docker --host "unix://$engine/socket")
  # It starts the containerd that it finds first, which has to be the one of its own age. No bridge,
  # because no container here needs a network that it has not asked for. Without an explicit limit on
  # open files the engine tries to raise it for every container, which is not permitted everywhere.
  PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    dockerd --storage-driver=overlay2 --default-ulimit nofile=20000:20000 --bridge=none "${filter[@]}" \
      --data-root "$engine/root" --exec-root "$engine/exec" --pidfile "$engine/pid" \
      --host "unix://$engine/socket" --insecure-registry "$registry" >"$engine/log" 2>&1 9>&- &
  engine_id=$!
  for ((tries = 0; tries < 600; tries++)); do
    if "${docker[@]}" info >/dev/null 2>&1; then return; fi
    kill -0 "$engine_id" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$engine/log" >&2
  fail 'the engine did not start'
}

stop_engine() {
  local tries
  if [ -n "${engine_id:-}" ]; then
    kill "$engine_id" 2>/dev/null
    for ((tries = 0; tries < 200; tries++)); do
      kill -0 "$engine_id" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$engine_id" 2>/dev/null
    wait "$engine_id" 2>/dev/null
  fi
  # What is still mounted below would be emptied with the folder.
  awk -v folder="$scratch/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
}

stop_servers() { stop_engine; }
