# shellcheck shell=bash
# Makes images out of nothing, with tar and jq alone, as OCI image layouts that the clients push.
# No client makes the image that it is judged by, and every run has bytes that no other run had, so
# nothing that a registry or a client remembers can stand in for the transfer.
#
# Sourced after checks.sh, from which it needs `scratch`, `checks_folder` and `digest_of`.

# The scripts that source this file read these.
# shellcheck disable=SC2034
image_digest='' image_descriptor='' index_digest='' amd64_digest='' arm64_digest=''

# make_files FOLDER: a small file, one that is larger than a part of a multipart upload, an empty one,
# and a folder with a name that is not plain ASCII.
make_files() {
  mkdir -p "$1/etc" "$1/dätä"
  head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$1/etc/name"
  : >"$1/etc/empty"
  head -c $((6 * 1024 * 1024 + 17)) /dev/urandom >"$1/dätä/large"
}

# make_tar FOLDER FILE: the same bytes for the same files, whoever calls it and whenever.
make_tar() {
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" .
}

# start_layout LAYOUT
start_layout() {
  mkdir -p "$1/blobs/sha256"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$1/oci-layout"
  echo '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}' >"$1/index.json"
}

# add_blob LAYOUT FILE: leaves `blob_digest` and `blob_size`.
add_blob() {
  blob_digest=$(digest_of "$2")
  blob_size=$(stat -c %s "$2")
  cp "$2" "$1/blobs/sha256/${blob_digest#sha256:}"
}

# add_manifest LAYOUT TAG TYPE FILE [PLATFORM]: leaves `image_digest`, and a descriptor of it in
# `image_descriptor`. Without a tag it is only put among the blobs.
add_manifest() {
  add_blob "$1" "$4"
  image_digest=$blob_digest
  image_descriptor=$(jq -nc --arg type "$3" --arg digest "$blob_digest" --argjson size "$blob_size" \
    --argjson platform "${5:-null}" \
    '{mediaType: $type, digest: $digest, size: $size} + if $platform then {platform: $platform} else {} end')
  if [ -n "$2" ]; then
    jq -c --arg tag "$2" --argjson descriptor "$image_descriptor" \
      '.manifests += [$descriptor + {annotations: {"org.opencontainers.image.ref.name": $tag}}]' \
      "$1/index.json" >"$scratch/index.new"
    mv "$scratch/index.new" "$1/index.json"
  fi
}

# make_image LAYOUT TAG ARCHITECTURE: an OCI image of two layers with fresh files, which stay in
# $scratch/files-ARCHITECTURE for comparison. Leaves what add_manifest leaves.
make_image() {
  local layout=$1 tag=$2 architecture=$3
  local files=$scratch/files-$architecture more=$scratch/more-$architecture
  local layers='[]' diff_ids='[]' folder
  rm -rf "$files" "$more"
  make_files "$files"
  mkdir -p "$more"
  head -c 4096 /dev/urandom | base64 >"$more/note"
  for folder in "$files" "$more"; do
    make_tar "$folder" "$scratch/layer.tar"
    diff_ids=$(jq -c --arg id "$(digest_of "$scratch/layer.tar")" '. + [$id]' <<<"$diff_ids")
    gzip -nf1 "$scratch/layer.tar"
    add_blob "$layout" "$scratch/layer.tar.gz"
    layers=$(jq -c --arg digest "$blob_digest" --argjson size "$blob_size" \
      '. + [{mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: $digest, size: $size}]' <<<"$layers")
  done
  cp "$more/note" "$files/note"
  jq -nc --arg architecture "$architecture" --argjson diff_ids "$diff_ids" \
    '{created: "1970-01-01T00:00:00Z", architecture: $architecture, os: "linux", config: {Cmd: ["/hello"]},
      rootfs: {type: "layers", diff_ids: $diff_ids},
      history: ($diff_ids | map({created: "1970-01-01T00:00:00Z", created_by: "tests"}))}' >"$scratch/config.json"
  add_blob "$layout" "$scratch/config.json"
  jq -nc --arg digest "$blob_digest" --argjson size "$blob_size" --argjson layers "$layers" \
    '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $digest, size: $size},
      layers: $layers}' >"$scratch/manifest.json"
  add_manifest "$layout" "$tag" application/vnd.oci.image.manifest.v1+json "$scratch/manifest.json" \
    "{\"architecture\":\"$architecture\",\"os\":\"linux\"}"
}

# make_index LAYOUT TAG: an index of a fresh amd64 and a fresh arm64 image. Leaves `index_digest`,
# `amd64_digest` and `arm64_digest`.
make_index() {
  local layout=$1 tag=$2 descriptors='[]' architecture
  for architecture in amd64 arm64; do
    make_image "$layout" '' "$architecture"
    case $architecture in
      amd64) amd64_digest=$image_digest ;;
      arm64) arm64_digest=$image_digest ;;
    esac
    descriptors=$(jq -c --argjson descriptor "$image_descriptor" '. + [$descriptor]' <<<"$descriptors")
  done
  jq -nc --argjson descriptors "$descriptors" \
    '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: $descriptors}' >"$scratch/index.json"
  add_manifest "$layout" "$tag" application/vnd.oci.image.index.v1+json "$scratch/index.json"
  index_digest=$image_digest
}

# make_context FOLDER: what a Dockerfile needs to make an image from scratch, with a program that runs.
make_context() {
  mkdir -p "$1"
  make_files "$1/files"
  CGO_ENABLED=0 GO111MODULE=off go build -trimpath -ldflags='-s -w' -o "$1/hello" "$checks_folder/hello.go"
  cat >"$1/Dockerfile" <<'END'
FROM scratch
COPY hello /hello
COPY files /files
ENTRYPOINT ["/hello"]
END
}

# hello_says: what the program in those images prints.
# shellcheck disable=SC2034
hello_says='hello from the image'
