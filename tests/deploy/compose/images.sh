# shellcheck shell=bash
# The images that docker-compose.yml names, built without pulling any. Sourced with `docker`, a
# command, and `scratch`, a folder of this run.
#
# Those that the files of deploy/ build are built from them, with the programs of tests/support/tools/install
# in the place of what their first stages compile. Of the others the names are real and the contents
# are Debian's: the program, the libraries that it names, and busybox around it, as in the images
# based on Alpine.

# lay_out ROOT PROGRAM...: a root file system with busybox, these programs and their libraries.
lay_out() {
  local root=$1 program path library
  shift
  mkdir -p "$root"/{bin,dev,etc,proc,sys,usr/bin,usr/local/bin,usr/sbin} "$root/tmp"
  chmod 1777 "$root/tmp"
  install -m 755 /bin/busybox "$root/bin/busybox"
  for program in sh cat chown grep mkdir sleep wget; do ln -s busybox "$root/bin/$program"; done
  echo 'root:x:0:0::/:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  for program in "$@"; do
    path=$(command -v "$program")
    install -m 755 "$path" "$root/usr/bin/$program"
    # A static program has none, and then ldd fails.
    while read -r library; do
      mkdir -p "$root$(dirname "$library")"
      cp -L "$library" "$root$library"
    done < <(ldd "$path" 2>/dev/null | grep -o '/[^ ]*' | sort -u)
  done
}

# build_from_debian IMAGE SETTINGS PROGRAM...: SETTINGS are lines of a Dockerfile.
build_from_debian() {
  local image=$1 settings=$2 context
  shift 2
  context=$scratch/image
  rm -rf "$context"
  lay_out "$context/root" "$@"
  printf 'FROM scratch\nCOPY root /\nENV PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin\n%s\n' "$settings" >"$context/Dockerfile"
  "${docker[@]}" build --quiet --tag "$image" "$context" >/dev/null
}

# image_of SERVICE: as docker-compose.yml names it, without the digest, which what is built here has not.
image_of() {
  awk -v service="$1:" '$1 == service && (NF == 1 || $2 ~ /^&/) { found = 1 } found && $1 == "image:" { sub(/@sha256:.*/, "", $2); print $2; exit }' \
    "$repository_root/docker-compose.yml"
}

build_images() {
  local alpine context=$scratch/image
  DOCKER_HOST=${docker[2]} "$repository_root/deploy/image" "${REGISTRY_BINARY:-$repository_root/target/release/longshore}" >/dev/null
  build_from_debian "$(image_of nginx)" '' nginx
  build_from_debian "$(image_of redis)" '' redis-server redis-cli
  build_from_debian "$(image_of bucket)" '' curl
  build_from_debian "$(image_of prometheus)" \
    $'RUN mkdir /prometheus && chown 65534:65534 /prometheus\nUSER 65534:65534\nENTRYPOINT ["prometheus"]' prometheus
  build_from_debian "$(image_of otel-collector)" $'USER 10001:10001\nENTRYPOINT ["/usr/bin/otelcol"]' otelcol
  # Its Dockerfile, where only the compiler is exchanged for what it would have compiled.
  alpine=$(sed -n 's/^FROM \(alpine.*\)$/\1/p' "$repository_root/deploy/minio/Dockerfile")
  build_from_debian "$alpine" ''
  rm -rf "$context"
  lay_out "$context/root"
  mkdir -p "$context/root/out"
  cp "$repository_root/target/tools/bin/minio" "$context/root/out/minio"
  # The dollar belongs to the script.
  # shellcheck disable=SC2016
  printf '#!/bin/sh\n[ "$1" = install ]\n' >"$context/root/bin/go"
  chmod +x "$context/root/bin/go"
  printf 'FROM scratch\nCOPY root /\n' >"$context/Dockerfile"
  "${docker[@]}" build --quiet --tag minio-compiled "$context" >/dev/null
  "${docker[@]}" build --quiet --build-arg GO_IMAGE=minio-compiled --tag "$(image_of minio)" \
    "$repository_root/deploy/minio" >/dev/null
}
