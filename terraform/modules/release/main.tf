# The Helm release.

resource "kubernetes_secret_v1" "redis" {
  count = var.redis_url == null ? 0 : 1

  metadata {
    name      = "${var.name}-redis-password"
    namespace = var.namespace
  }

  data = {
    redis-password = var.redis_password
  }
}

resource "helm_release" "this" {
  name      = var.name
  namespace = var.namespace
  chart     = var.chart
  version   = var.chart_version
  wait      = true
  # Roll back an upgrade that does not become ready. A first install that fails is removed, and its pods and
  # their logs with it: set atomic to false to look at them.
  atomic  = true
  timeout = 600

  values = concat([
    yamlencode({
      fullnameOverride = var.name
      image            = { registry = var.image_registry }
      store            = { url = var.store_url, s3 = { region = var.region } }
      identity         = { provider = var.identity, roleArn = var.role_arn }
      serviceAccount   = { name = var.name }
      access = {
        authenticated = "push"
        htpasswd      = { existingSecret = var.users_secret }
      }
      redis = {
        mode           = var.redis_url == null ? "none" : "external"
        url            = var.redis_url == null ? "" : var.redis_url
        existingSecret = var.redis_url == null ? "" : kubernetes_secret_v1.redis[0].metadata[0].name
      }
    })
  ], var.values)
}
