# Names, and the values of the chart. They depend on variables and on `load_balancer_cidrs` only, so that
# tests/deploy/terraform/run can render the chart with them.

locals {
  # A second registry has another `name`, in the same cluster and in the same account.
  redis_name = trimsuffix(substr("${var.name}-${var.cluster_name}", 0, 40), "-")
  role_name  = substr("${var.name}-${var.cluster_name}", 0, 64)

  from_load_balancer = [for cidr in local.load_balancer_cidrs : { ipBlock = { cidr = cidr } }]
  from_prometheus    = var.monitoring == null ? [] : [{ namespaceSelector = { matchLabels = { "kubernetes.io/metadata.name" = var.monitoring.namespace } } }]

  values = {
    ingress = {
      enabled    = true
      className  = "alb"
      controller = "alb"
      hosts      = [var.hostname]
      annotations = {
        "alb.ingress.kubernetes.io/scheme"          = var.load_balancer.scheme
        "alb.ingress.kubernetes.io/subnets"         = join(",", var.load_balancer.subnet_ids)
        "alb.ingress.kubernetes.io/listen-ports"    = jsonencode([{ HTTPS = 443 }])
        "alb.ingress.kubernetes.io/certificate-arn" = var.certificate_arn
      }
    }
    # Any address in these subnets may set X-Forwarded-For. So nothing else reaches the registry port, and
    # pods should not have addresses there: give the load balancer subnets of its own.
    trustedProxies = local.load_balancer_cidrs
    networkPolicy = {
      registryFrom = local.from_load_balancer
      # The load balancer asks the admin port whether a pod is ready.
      adminFrom = concat(local.from_load_balancer, local.from_prometheus)
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
