# shellcheck shell=bash
# Starts registries with logins. Source processes.sh first. The function leaves host:port in `address`
# as the others do.

# The one user, who may do everything.
# shellcheck disable=SC2034
login_user=alice login_password='a pass/word:+%'

# start_basic_registry STORE [VARIABLE=VALUE...]: with passwords, for which it asks clients.
start_basic_registry() { start_password_registry basic "$1" LONGSHORE_ACCESS_CHALLENGE=basic "${@:2}"; }

# start_built_in_registry STORE [VARIABLE=VALUE...]: with passwords, which clients exchange for tokens of
# the registry itself.
start_built_in_registry() { start_password_registry built-in "$@"; }

start_password_registry() {
  local name=$1 store=$2 users=$process_scratch/users
  shift 2
  # The C library knows bcrypt, so no htpasswd is needed.
  # The dollars belong to perl.
  # shellcheck disable=SC2016
  perl -e 'print "$ARGV[0]:", crypt($ARGV[1], "\$2y\$08\$" . join("", map { (".", "/", "a".."z")[rand 28] } 1..21) . "u"), "\n"' \
    "$login_user" "$login_password" >"$users"
  start_longshore "$name" "$store" LONGSHORE_ACCESS_HTPASSWD_FILE="$users" \
    LONGSHORE_ACCESS_AUTHENTICATED=push "$@"
}

# start_bearer_registry STORE [VARIABLE=VALUE...]: with tokens of a token server. The token server is
# on the registry's own address, because crane believes no other that is on a loopback address: nginx
# stands before both. It sends the address on with which it was asked, so the realm can be a path.
start_bearer_registry() {
  local store=$1 folder=$process_scratch/tokens tokens registry
  shift
  mkdir -p "$folder"
  choose_address
  tokens=$address
  start_process tokens python3 "$repository_root/tests/support/token-server/serve.py" "$tokens" "$folder" tokens.test registry.test \
    "$login_user:$login_password"
  wait_until 'the token server' grep -q 'listening on' "$process_log"
  start_longshore bearer "$store" LONGSHORE_ACCESS_TOKEN_REALM=/token \
    LONGSHORE_ACCESS_TOKEN_SERVICE=registry.test LONGSHORE_ACCESS_TOKEN_ISSUER=tokens.test \
    LONGSHORE_ACCESS_TOKEN_KEYS_FILE="$folder/public.pem" "$@"
  registry=$address
  # Without the proxy.
  # shellcheck disable=SC2034
  bearer_registry=$registry
  choose_address
  start_nginx front < <(
    echo '  access_log off;'
    echo "  server { listen $address;"
    echo "    location /v2/ { proxy_pass http://$registry; }"
    echo "    location /token { proxy_pass http://$tokens; }"
    echo '  }'
  )
  wait_until 'the proxy' curl -sS "http://$address/v2/"
}
