variable "name" {
  description = "The name of the release, and of its ServiceAccount."
  type        = string
  default     = "longshore"
}

variable "namespace" {
  description = "The namespace. It must exist."
  type        = string
}

variable "chart" {
  description = "The chart: a path, or oci://registry/name."
  type        = string
}

variable "chart_version" {
  description = "The version of the chart, for oci://. Null for a path."
  type        = string
  default     = null
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

variable "atomic" {
  description = "Whether a failed apply is undone. It removes a failed first installation, and with it the pods and events that tell the reason. Without it the pods of the former version go on serving after a failed upgrade, and the next apply tries again."
  type        = bool
  default     = false
}

variable "store_url" {
  description = "s3://bucket or s3://bucket/prefix."
  type        = string

  validation {
    condition     = startswith(var.store_url, "s3://")
    error_message = "The store must be a bucket: s3://bucket or s3://bucket/prefix."
  }
}

variable "region" {
  description = "The region of the bucket."
  type        = string
}

variable "identity" {
  description = "How the pods authenticate to the bucket: irsa (with role_arn) or pod-identity."
  type        = string
  default     = "pod-identity"

  validation {
    condition     = contains(["irsa", "pod-identity"], var.identity)
    error_message = "The identity is irsa or pod-identity."
  }
}

variable "role_arn" {
  description = "The ARN of the role, for irsa."
  type        = string
  default     = ""
}

variable "users_secret" {
  description = "A Secret in the namespace with the key htpasswd. Create it outside of Terraform, so the state has no password hashes."
  type        = string
}

variable "redis_url" {
  description = "The URL of Redis. Null: no Redis."
  type        = string
  default     = null
}

variable "redis_password" {
  description = "The password of Redis."
  type        = string
  default     = null
  sensitive   = true
}

variable "values" {
  description = "Further values of the chart, as YAML. They override those of this module."
  type        = list(string)
  default     = []
}
