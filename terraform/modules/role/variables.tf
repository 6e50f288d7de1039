variable "name" {
  description = "The name of the role."
  type        = string
}

variable "policy_arn" {
  description = "The ARN of the policy to attach."
  type        = string
}

variable "mode" {
  description = "irsa: the OpenID Connect provider of the cluster. pod-identity: the EKS Pod Identity agent."
  type        = string
  default     = "pod-identity"

  validation {
    condition     = contains(["irsa", "pod-identity"], var.mode)
    error_message = "The mode is irsa or pod-identity."
  }
}

variable "namespace" {
  description = "The namespace of the ServiceAccount."
  type        = string
}

variable "service_account" {
  description = "The name of the ServiceAccount."
  type        = string
}

variable "cluster_name" {
  description = "The name of the cluster, for pod-identity."
  type        = string
  default     = null
}

variable "oidc_provider_arn" {
  description = "The ARN of the OpenID Connect provider of the cluster, for irsa."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the role."
  type        = map(string)
  default     = {}
}
