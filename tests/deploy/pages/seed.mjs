// Fills a registry with what the pages have to show: images, an index with an attestation, a chart,
// signatures, hostile names and annotations, and a repository with very many tags.
import { createHash } from "node:crypto";

const OCI = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
export const HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'`{{7*7}}";

export class Registry {
  constructor(base, authorization) {
    this.base = base;
    this.headers = authorization ? { authorization } : {};
  }

  async send(method, path, body, type) {
    const headers = { ...this.headers };
    if (type) headers["content-type"] = type;
    const response = await fetch(this.base + path, { method, body, headers });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 300)}`);
    return text;
  }

  async blob(name, content, mediaType, annotations) {
    const bytes = Buffer.from(content);
    const digest = digestOf(bytes);
    await this.send("POST", `/v2/${name}/blobs/uploads/?digest=${digest}`, bytes, "application/octet-stream");
    return { mediaType, digest, size: bytes.length, ...(annotations ? { annotations } : {}) };
  }

  // Pushes a manifest by digest with these tags, and returns its descriptor.
  async manifest(name, document, tags = []) {
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = digestOf(bytes);
    const query = tags.map((tag) => `tag=${tag}`).join("&");
    await this.send("PUT", `/v2/${name}/manifests/${digest}?${query}`, bytes, document.mediaType);
    return { mediaType: document.mediaType, digest, size: bytes.length };
  }

  async image(name, tags, options = {}) {
    const { os = "linux", architecture = "amd64", layers = [50_000, 9_000], labels = {} } = options;
    const config = await this.blob(name, JSON.stringify({
      os, architecture, created: "2026-11-01T10:00:00Z", author: "the team",
      config: {
        Entrypoint: ["/usr/bin/server", "--listen"], Cmd: [":8080"], User: "65532:65532", WorkingDir: "/data",
        ExposedPorts: { "8080/tcp": {} }, Env: ["PATH=/usr/bin", "MODE=production"],
        Labels: { "org.opencontainers.image.licenses": "Apache-2.0", ...labels },
      },
      rootfs: { type: "layers", diff_ids: [] },
      history: [
        { created_by: "COPY rootfs / # buildkit" },
        { created_by: "ENV MODE=production", empty_layer: true },
        { created_by: `RUN ${options.command ?? "make install"}` },
      ],
    }), "application/vnd.oci.image.config.v1+json");
    const content = layers.map((size, number) =>
      this.blob(name, Buffer.alloc(size, `${name} ${architecture} ${number} ${options.salt ?? ""}`),
        "application/vnd.oci.image.layer.v1.tar+gzip"));
    return this.manifest(name, {
      schemaVersion: 2, mediaType: OCI, config, layers: await Promise.all(content),
      annotations: { "org.opencontainers.image.source": "https://code.example/app", ...options.annotations },
    }, tags);
  }

  async artifact(name, artifactType, subject, tags = [], annotations = {}) {
    const empty = await this.blob(name, "{}", "application/vnd.oci.empty.v1+json");
    const layer = await this.blob(name, `${artifactType} of ${subject?.digest}`, artifactType);
    return this.manifest(name, {
      schemaVersion: 2, mediaType: OCI, artifactType, config: empty, layers: [layer], annotations,
      ...(subject ? { subject } : {}),
    }, tags);
  }
}

export function digestOf(bytes) {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

// The repositories that most checks look at. Returns the digests that they need.
export async function seed(registry) {
  const plain = await registry.image("demo/app", ["1.9.0"], { layers: [9_000], salt: "old" });
  await registry.image("demo/app", ["1.10.0", "latest"]);
  const amd64 = await registry.image("demo/multi", []);
  const arm64 = await registry.image("demo/multi", [], { architecture: "arm64" });
  const attestation = await registry.artifact("demo/multi", "application/vnd.in-toto+json");
  const index = await registry.manifest("demo/multi", {
    schemaVersion: 2, mediaType: INDEX,
    manifests: [
      { ...amd64, platform: { os: "linux", architecture: "amd64" } },
      { ...arm64, platform: { os: "linux", architecture: "arm64", variant: "v8" } },
      {
        ...attestation, platform: { os: "unknown", architecture: "unknown" },
        annotations: { "vnd.docker.reference.type": "attestation-manifest" },
      },
    ],
  }, ["2.0", "latest"]);
  const sbom = await registry.artifact("demo/multi", "application/spdx+json", index);
  await registry.artifact("demo/multi", "application/vnd.dev.sigstore.bundle.v0.3+json", sbom);
  await registry.artifact("demo/multi", "application/vnd.dev.cosign.simplesigning.v1+json", undefined,
    [`${index.digest.replace(":", "-")}.sig`]);
  const chart = await registry.blob("charts/web", JSON.stringify({
    apiVersion: "v2", name: "web", version: "1.2.3+build.4", description: "A web server", appVersion: "2.0",
  }), "application/vnd.cncf.helm.config.v1+json");
  const archive = await registry.blob("charts/web", "not really an archive",
    "application/vnd.cncf.helm.chart.content.v1.tar+gzip");
  await registry.manifest("charts/web", {
    schemaVersion: 2, mediaType: OCI, config: chart, layers: [archive],
  }, ["1.2.3_build.4"]);
  await registry.image("hostile/app", ["v1"], {
    labels: { [HOSTILE]: HOSTILE }, command: HOSTILE,
    annotations: { [HOSTILE]: HOSTILE, "a.long.annotation": "x".repeat(5_000) },
  });
  return { plain: plain.digest, index: index.digest, amd64: amd64.digest };
}

// A repository with 100,000 tags of one image.
export async function manyTags(registry, count) {
  const name = "many/tags";
  const config = await registry.blob(name, "{}", "application/vnd.oci.image.config.v1+json");
  const document = { schemaVersion: 2, mediaType: OCI, config, layers: [] };
  const all = Array.from({ length: count }, (_, number) => `build-${String(number).padStart(6, "0")}`);
  const pushes = [];
  for (let from = 0; from < count; from += 100) pushes.push(all.slice(from, from + 100));
  const worker = async () => {
    for (let tags = pushes.shift(); tags; tags = pushes.shift()) await registry.manifest(name, document, tags);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}
