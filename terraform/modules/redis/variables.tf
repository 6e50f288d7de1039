variable "name" {
  description = "The name of the replication group."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets in at least two availability zones."
  type        = list(string)
}

variable "client_security_group_ids" {
  description = "The security groups of the nodes or pods that may connect: that of the cluster, and those of nodes that have their own (self-managed nodes, Karpenter)."
  type        = list(string)

  validation {
    condition     = length(var.client_security_group_ids) > 0
    error_message = "Without a security group nothing reaches Redis. Longshore then runs without it and reports no error."
  }
}

variable "node_type" {
  description = "The node type. Longshore stores small values there for minutes."
  type        = string
  default     = "cache.t4g.small"
}

variable "replicas" {
  description = "Replicas beside the primary. 0 is enough, because Longshore works without Redis; with 1, ElastiCache replaces a primary that fails by the replica."
  type        = number
  default     = 0

  validation {
    condition     = var.replicas >= 0 && var.replicas <= 5
    error_message = "ElastiCache has 0 to 5 replicas."
  }
}

variable "kms_key_arn" {
  description = "The ARN of the KMS key for data at rest. Null: the key of ElastiCache."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}
