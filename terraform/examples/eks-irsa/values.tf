# The values of the chart. They depend on variables only, so that tests/deploy/terraform/run can render the
# chart with them.

locals {
  from_ingress    = [{ namespaceSelector = { matchLabels = { "kubernetes.io/metadata.name" = var.ingress.namespace } } }]
  from_prometheus = var.monitoring == null ? [] : [{ namespaceSelector = { matchLabels = { "kubernetes.io/metadata.name" = var.monitoring.namespace } } }]

  values = {
    ingress = {
      enabled    = true
      className  = var.ingress.class
      controller = "ingress-nginx"
      hosts      = [var.hostname]
      tls        = [{ secretName = var.ingress.tls_secret, hosts = [var.hostname] }]
    }
    # Any address in these networks may set X-Forwarded-For. So nothing but the controller reaches the port.
    trustedProxies = var.ingress.networks
    networkPolicy = {
      registryFrom = local.from_ingress
      adminFrom    = local.from_prometheus
    }
    serviceMonitor = {
      enabled = var.monitoring != null
      labels  = var.monitoring == null ? {} : var.monitoring.labels
    }
    prometheusRule = {
      enabled = var.monitoring != null
      labels  = var.monitoring == null ? {} : var.monitoring.labels
    }
  }
}
