variable "name" {
  description = "The name of the role."
  type        = string
}

variable "policy_arn" {
  description = "The policy that the role has."
  type        = string
}

variable "mode" {
  description = "irsa: a provider of OpenID Connect that the cluster has. pod-identity: the agent of EKS."
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
  description = "The cluster, for pod-identity."
  type        = string
  default     = null
}

variable "oidc_provider_arn" {
  description = "The ARN of the provider of the cluster, for irsa."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the role."
  type        = map(string)
  default     = {}
}
