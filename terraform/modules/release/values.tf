# The values of the chart. They depend on variables only, so that tests/deploy/terraform/run can render the
# chart with them.

locals {
  redis_secret = "${var.name}-redis-password"

  values = {
    fullnameOverride = var.name
    image            = var.image
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
      existingSecret = var.redis_url == null ? "" : local.redis_secret
    }
  }
}
