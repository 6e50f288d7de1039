# The Helm release.

resource "kubernetes_secret_v1" "redis" {
  count = var.redis_url == null ? 0 : 1

  metadata {
    name      = local.redis_secret
    namespace = var.namespace
  }

  data = {
    redis-password = var.redis_password
  }
}

resource "helm_release" "this" {
  # The pods wait for this Secret.
  depends_on = [kubernetes_secret_v1.redis]

  name      = var.name
  namespace = var.namespace
  chart     = var.chart
  version   = var.chart_version
  wait      = true
  atomic    = var.atomic
  timeout   = 600
  values    = concat([yamlencode(local.values)], var.values)
}
