# shellcheck shell=bash
# Starts and stops the processes that a test needs: S3 servers, registries, a round robin before them.
#
# Source this file, call the start functions, and let the script end: whatever was started is stopped
# then, and what it had written is removed. A start function returns when the process answers, and
# leaves its host:port in `address`. Logs go to $TEST_LOGS and outlive the run.

repository_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
tools_bin=$repository_root/target/tools/bin
export PATH="$tools_bin:$PATH"
export TEST_LOGS="${TEST_LOGS:-$repository_root/target/test-logs}"
mkdir -p "$TEST_LOGS"

process_scratch=$(mktemp -d)
process_ids=()
address=

s3_access_key=longshore-tests
s3_secret_key=longshore-tests-secret

stop_processes() {
  local id
  for id in "${process_ids[@]}"; do kill -TERM "$id" 2>/dev/null || true; done
  for id in "${process_ids[@]}"; do stop_process "$id"; done
  process_ids=()
  rm -rf "$process_scratch"
}
trap stop_processes EXIT
# Without these the shell would end on a signal without running the EXIT trap of a waiting command.
trap 'exit 130' INT
trap 'exit 143' TERM

# stop_process ID: asks it to end, and ends it by force when ten seconds were not enough.
stop_process() {
  local tries
  kill -TERM "$1" 2>/dev/null || return 0
  for ((tries = 0; tries < 100; tries++)); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# choose_address: a port below the range from which the kernel takes ports for outgoing connections,
# so that nobody gets it between the choice and the listen.
choose_address() {
  local port
  while :; do
    port=$((20000 + RANDOM % 10000))
    if [ -z "$(ss -Hltn "sport = :$port")" ]; then break; fi
  done
  address=127.0.0.1:$port
}

# start_process NAME COMMAND...: runs it in the background with its output in a log of its own.
# Leaves its id in `process_id` and the path of the log in `process_log`.
start_process() {
  local name=$1
  shift
  process_log=$TEST_LOGS/$name.log
  # Now and not in the child, or the lines of an earlier run might be taken for its own.
  : >"$process_log"
  "$@" >"$process_log" 2>&1 &
  process_id=$!
  process_ids+=("$process_id")
}

# wait_until WHAT COMMAND...: polls for up to a minute, and fails at once when the process has ended.
wait_until() {
  local what=$1 tries
  shift
  for ((tries = 0; tries < 600; tries++)); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    if ! kill -0 "$process_id" 2>/dev/null; then break; fi
    sleep 0.1
  done
  echo "$what did not start; its log $process_log ends with:" >&2
  tail -n 30 "$process_log" >&2
  return 1
}

start_minio() {
  local folder=$process_scratch/minio
  mkdir -p "$folder/data" "$folder/home"
  choose_address
  start_process minio env HOME="$folder/home" MINIO_BROWSER=off \
    MINIO_ROOT_USER="$s3_access_key" MINIO_ROOT_PASSWORD="$s3_secret_key" \
    minio server "$folder/data" --address "$address"
  wait_until MinIO curl -fsS "http://$address/minio/health/ready"
  use_s3 "$address"
}

start_versitygw() {
  # Its metadata are extended attributes, which appear together with the data. With `--sidecar` they
  # are files of their own and appear before it: a reader gets old data with the new ETag, and its
  # compare-and-swap overwrites what it has not seen.
  local folder=$process_scratch/versitygw
  mkdir -p "$folder/data"
  choose_address
  start_process versitygw env ROOT_ACCESS_KEY="$s3_access_key" ROOT_SECRET_KEY="$s3_secret_key" \
    versitygw --port "$address" --keep-alive --quiet posix "$folder/data"
  # It answers an unsigned request with 403, which is an answer.
  wait_until versitygw curl -sS "http://$address/"
  use_s3 "$address"
}

# start_garage: a cluster of one node, which knows no conditional writes.
start_garage() {
  local folder=$process_scratch/garage rpc node
  mkdir -p "$folder"
  # It takes only keys of its own form.
  s3_access_key=GK$(openssl rand -hex 12) s3_secret_key=$(openssl rand -hex 32)
  choose_address
  rpc=$address
  choose_address
  cat >"$folder/garage.toml" <<END
metadata_dir = "$folder/meta"
data_dir = "$folder/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "$rpc"
rpc_public_addr = "$rpc"
rpc_secret = "$(openssl rand -hex 32)"

[s3_api]
s3_region = "us-east-1"
api_bind_addr = "$address"
END
  export GARAGE_CONFIG_FILE=$folder/garage.toml
  start_process garage garage server
  wait_until Garage garage status
  node=$(garage node id -q)
  {
    garage layout assign -z tests -c 10G "${node%%@*}"
    garage layout apply --version 1
    garage key import --yes -n tests "$s3_access_key" "$s3_secret_key"
    garage key allow --create-bucket tests
  } >"$folder/log"
  # It answers an unsigned request with 403, which is an answer.
  wait_until Garage curl -sS "http://$address/"
  use_s3 "$address"
}

# use_s3 ADDRESS: makes the bucket that all tests share and points the standard variables at it.
use_s3() {
  export AWS_ENDPOINT_URL_S3=http://$1 AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
  export AWS_ACCESS_KEY_ID=$s3_access_key AWS_SECRET_ACCESS_KEY=$s3_secret_key
  # Those of the machine would go before these, or would make them mean something else.
  unset AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE AWS_ENDPOINT_URL AWS_CA_BUNDLE
  s3_bucket=longshore
  # curl signs the header with the digest of the body, but does not always send it. On a busy machine
  # MinIO says that it is ready and then 503 for a moment.
  curl -fsS --retry 8 --aws-sigv4 "aws:amz:$AWS_REGION:s3" --user "$s3_access_key:$s3_secret_key" \
    -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -X PUT "$AWS_ENDPOINT_URL_S3/$s3_bucket"
}

# make_certificates FOLDER: `ca.pem`, and `leaf.pem` with `leaf.key` for whoever is on this machine.
make_certificates() {
  local new=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  mkdir -p "$1"
  {
    openssl req -x509 "${new[@]}" -keyout "$1/ca.key" -out "$1/ca.pem" -subj /CN=tests -days 2
    openssl req "${new[@]}" -keyout "$1/leaf.key" -out "$1/leaf.csr" -subj /CN=leaf
    openssl x509 -req -in "$1/leaf.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -CAcreateserial -days 2 \
      -out "$1/leaf.pem" -extfile <(echo subjectAltName=IP:127.0.0.1)
  } >"$1/log" 2>&1
}

# start_redis PASSWORD: leaves host:port in `address`.
start_redis() {
  local folder=$process_scratch/redis
  mkdir -p "$folder"
  choose_address
  start_process redis redis-server --port "${address#*:}" --bind 127.0.0.1 --save '' --dir "$folder" --requirepass "$1"
  wait_until Redis redis-cli -p "${address#*:}" -a "$1" --no-auth-warning ping
}

# start_collector: the OpenTelemetry collector. Leaves where it takes gRPC and HTTP in `collector_grpc`
# and `collector_http`, the same with TLS and certificates on both sides in `collector_grpcs` and
# `collector_https`, the folder of these certificates in `collector_certificates`, and the path of what
# it received, a line of JSON for each batch, in `collector_received`. They stay the same when it is
# started anew.
start_collector() {
  if [ -z "${collector_grpc:-}" ]; then
    choose_address
    collector_grpc=$address
    choose_address
    collector_http=$address
    choose_address
    collector_grpcs=$address
    choose_address
    collector_https=$address
    collector_received=$process_scratch/received.json
    collector_certificates=$process_scratch/collector-certificates
    make_certificates "$collector_certificates"
  fi
  local tls="{cert_file: $collector_certificates/leaf.pem, key_file: $collector_certificates/leaf.key,
    client_ca_file: $collector_certificates/ca.pem}"
  cat >"$process_scratch/collector.yaml" <<END
receivers:
  otlp: {protocols: {grpc: {endpoint: "$collector_grpc"}, http: {endpoint: "$collector_http"}}}
  otlp/tls:
    protocols: {grpc: {endpoint: "$collector_grpcs", tls: $tls}, http: {endpoint: "$collector_https", tls: $tls}}
exporters: {file: {path: "$collector_received", append: true, flush_interval: 100ms}}
service: {pipelines: {traces: {receivers: [otlp, otlp/tls], exporters: [file]}}}
END
  start_process collector otelcol --config "$process_scratch/collector.yaml"
  # Nothing is there to be read, but only it would say so.
  wait_until 'the collector' curl -sS "http://$collector_http/"
}

# start_longshore NAME STORE [VARIABLE=VALUE...]: STORE as on its command line.
start_longshore() {
  local name=$1 store=$2
  shift 2
  choose_address
  # It takes every LONGSHORE_ variable for a setting, and these two are the tests' own.
  start_process "$name" env -u LONGSHORE_TEST_STORE -u LONGSHORE_TEST_S3 "$@" \
    "${REGISTRY_BINARY:-$repository_root/target/release/longshore}" serve --listen "$address" --store "$store"
  wait_until "$name" grep -q 'listening on' "$process_log"
  # A registry with logins answers, too: that there is one.
  if ! curl -sS -o /dev/null -w '%{http_code}' "http://$address/v2/" | grep -qE '^(200|401)$'; then
    echo "$name says that it listens but does not answer; see $process_log" >&2
    return 1
  fi
}

# start_nginx NAME: a proxy before registries. The rest of its `http` block, with a server that listens
# on `address`, is read from standard input.
start_nginx() {
  local folder=$process_scratch/$1
  mkdir -p "$folder"
  {
    # One worker, because each worker takes turns on its own.
    echo "worker_processes 1; daemon off; pid $folder/pid; error_log stderr warn;"
    echo 'events { worker_connections 8192; }'
    echo 'http {'
    echo "  client_body_temp_path $folder/body; proxy_temp_path $folder/proxy; fastcgi_temp_path $folder/fastcgi;"
    echo "  uwsgi_temp_path $folder/uwsgi; scgi_temp_path $folder/scgi;"
    echo '  server_tokens off; client_max_body_size 0; merge_slashes off; large_client_header_buffers 8 64k;'
    # Bodies of unknown length can only be passed on as they come in HTTP/1.1.
    echo '  proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;'
    # Location may be absolute and then has to name the proxy.
    # The dollars belong to nginx.
    # shellcheck disable=SC2016
    echo '  proxy_set_header Host $http_host;'
    cat
    echo '}'
  } >"$folder/nginx.conf"
  start_process "$1" nginx -c "$folder/nginx.conf" -e stderr
}

# start_round_robin ADDRESS...: every request goes to the next one, also within one connection. Who
# answered what is written to `round_robin_log`, a line for each request.
start_round_robin() {
  local upstream
  round_robin_log=$TEST_LOGS/round-robin-requests.log
  : >"$round_robin_log"
  choose_address
  start_nginx round-robin < <(
    # The dollars belong to nginx.
    # shellcheck disable=SC2016
    echo '  log_format turns "$upstream_addr $status $request";'
    echo "  access_log $round_robin_log turns;"
    echo '  upstream registries {'
    # A process that fails must be seen, so none is ever left out and nothing is tried twice.
    for upstream in "$@"; do echo "    server $upstream max_fails=0;"; done
    echo '  }'
    echo "  server { listen $address;"
    echo '    location / {'
    echo '      proxy_pass http://registries; proxy_next_upstream off;'
    echo '      proxy_read_timeout 300s; proxy_send_timeout 300s;'
    echo '    }'
    echo '  }'
  )
  wait_until 'the round robin' curl -fsS "http://$address/v2/"
}
