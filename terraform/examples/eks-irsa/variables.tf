variable "name" {
  description = "The name of the release and its ServiceAccount, and the beginning of the names of everything else. A second registry needs another one."
  type        = string
  default     = "longshore"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$", var.name)) && !strcontains(var.name, "--")
    error_message = "The name has 1 to 30 lower case letters, digits and single hyphens, and begins with a letter."
  }
}

variable "region" {
  description = "The region of the cluster and of the bucket."
  type        = string
}

variable "cluster_name" {
  description = "The name of the cluster. It needs an OpenID Connect provider in IAM and ingress-nginx."
  type        = string
}

variable "namespace" {
  description = "The namespace. It must exist, with the Secret of users_secret in it."
  type        = string
  default     = "registry"
}

variable "bucket_name" {
  description = "The name of the bucket to create."
  type        = string
}

variable "bucket_versioning" {
  description = "Disabled, Enabled, or Suspended for a bucket that had versions once (modules/bucket)."
  type        = string
  default     = "Disabled"
}

variable "image" {
  description = "The image that nodes pull: registry/repository:tag, or by digest. Without tag and digest: the version of the chart. Push it there first."
  type = object({
    registry   = string
    repository = optional(string, "longshore")
    tag        = optional(string, "")
    digest     = optional(string, "")
  })
}

variable "users_secret" {
  description = "The Secret with the users, in its key htpasswd. It must exist."
  type        = string
  default     = "longshore-users"
}

variable "hostname" {
  description = "The host name that clients use."
  type        = string
}

variable "ingress" {
  description = "ingress-nginx: its class, its namespace, the networks of its pods, and the Secret with the certificate in the namespace of the release."
  type = object({
    class      = optional(string, "nginx")
    namespace  = optional(string, "ingress-nginx")
    networks   = list(string)
    tls_secret = string
  })
}

variable "monitoring" {
  description = "The namespace of Prometheus and the labels by which it selects a ServiceMonitor and a PrometheusRule, such as { namespace = \"monitoring\", labels = { release = \"prometheus\" } }. Null: neither of them; required, so that a registry without alerts is a decision."
  type = object({
    namespace = string
    labels    = optional(map(string), {})
  })
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}
