# Pushes an image of random bytes in chunks, pulls it by tag and by digest, and compares.
# Needs only what a small image with curl has: sh, curl, od, sed, head, tail, cmp, sha256sum.
set -eu
cd "$(mktemp -d)"
type=application/vnd.oci.image.manifest.v1+json
tag=test-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
base=$URL/v2/$REPOSITORY
: >options
[ "${INSECURE:-}" != yes ] || echo insecure >>options

fail() {
  echo "not ok: $*" >&2
  exit 1
}
digest_of() { sha256sum "$1" | sed 's/ .*//; s/^/sha256:/'; }
header() { tr -d '\r' <headers | sed -n "s/^$1: *//Ip" | tail -n 1; }
# ask STATUS CURL_ARGUMENT...: sends a request and fails unless the answer has one of these statuses.
# Passwords are in the file `options`, because other users can read the arguments of a process.
ask() {
  expected=$1
  shift
  status=$(curl --config options -sS --max-time 120 -D headers -o body -w '%{http_code}' "$@") ||
    fail "no answer to: curl $*"
  case " $expected " in
    *" $status "*) ;;
    *)
      head -c 2000 body >&2
      fail "$status and not $expected from: curl $*"
      ;;
  esac
}
next() {
  place=$(header location)
  case $place in /*) place=$URL$place ;; esac
}

ask '200 401' "$URL/v2/"
echo 'ok: the registry answers'
if [ -n "${LOGIN:-}" ]; then
  challenge=$(header www-authenticate)
  [ -n "$challenge" ] || fail 'test.existingSecret names a login, but the registry asks for none'
  printf 'user = "%s:%s"\n' "$(sed 's/[\\"]/\\&/g' "$LOGIN/username")" "$(sed 's/[\\"]/\\&/g' "$LOGIN/password")" >>options
  case $challenge in
    [Bb]earer*)
      realm=$(echo "$challenge" | sed -n 's/.*realm="\([^"]*\)".*/\1/p')
      service=$(echo "$challenge" | sed -n 's/.*service="\([^"]*\)".*/\1/p')
      ask 200 --get --data-urlencode "service=$service" \
        --data-urlencode "scope=repository:$REPOSITORY:pull,push,delete" "$realm"
      token=$(sed -n 's/.*"\(access_\)\{0,1\}token" *: *"\([^"]*\)".*/\2/p' body)
      [ -n "$token" ] || fail "$realm gave no token"
      sed -i '/^user/d' options
      echo "header = \"Authorization: Bearer $token\"" >>options
      ;;
  esac
  ask 200 "$URL/v2/"
  echo 'ok: the login is accepted'
elif [ "$ANONYMOUS" != push ]; then
  echo 'not tested: push and pull, because test.existingSecret names no login'
  exit 0
fi

# push FILE: in two chunks, which may reach different pods.
push() {
  size=$(wc -c <"$1")
  half=$((size / 2))
  ask 202 -X POST -H 'Content-Length: 0' "$base/blobs/uploads/"
  next
  head -c "$half" "$1" >chunk
  ask 202 -X PATCH -H 'Content-Type: application/octet-stream' -H "Content-Range: 0-$((half - 1))" --data-binary @chunk "$place"
  next
  tail -c "+$((half + 1))" "$1" >chunk
  ask 202 -X PATCH -H 'Content-Type: application/octet-stream' -H "Content-Range: $half-$((size - 1))" --data-binary @chunk "$place"
  next
  case $place in *\?*) joint='&' ;; *) joint='?' ;; esac
  ask 201 -X PUT -H 'Content-Length: 0' "$place${joint}digest=$(digest_of "$1")"
}

head -c 3000000 /dev/urandom >layer
printf '{"architecture":"amd64","os":"linux","author":"%s","rootfs":{"type":"layers","diff_ids":["%s"]}}' \
  "$tag" "$(digest_of layer)" >config
push layer
push config
printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","digest":"%s","size":%d},"layers":[{"mediaType":"%s","digest":"%s","size":%d}]}' \
  "$type" application/vnd.oci.image.config.v1+json "$(digest_of config)" "$(wc -c <config)" \
  application/vnd.oci.image.layer.v1.tar "$(digest_of layer)" "$(wc -c <layer)" >manifest
digest=$(digest_of manifest)
ask 201 -X PUT -H "Content-Type: $type" --data-binary @manifest "$base/manifests/$tag"
echo "ok: pushed $REPOSITORY:$tag"
for reference in "$tag" "$digest"; do
  ask 200 -H "Accept: $type" "$base/manifests/$reference"
  cmp manifest body || fail 'the pulled manifest differs from the pushed one'
done
for file in layer config; do
  # A redirect leads to the bucket. curl does not send the login there.
  ask 200 -L "$base/blobs/$(digest_of $file)"
  cmp $file body || fail 'a pulled blob differs from the pushed one'
done
echo 'ok: pulled by tag and by digest, all bytes equal'
ask '202 401 403 405' -X DELETE "$base/manifests/$digest"
[ "$status" = 202 ] && echo 'ok: deleted the manifest' || echo "left behind: $REPOSITORY:$tag, because the user may not delete"
