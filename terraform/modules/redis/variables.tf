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
  description = "The security groups of the nodes or pods that may connect."
  type        = list(string)
}

variable "node_type" {
  description = "The node type. Longshore stores small values there for minutes."
  type        = string
  default     = "cache.t4g.small"
}

variable "replicas" {
  description = "Replicas beside the primary. 0 is enough, because Longshore works without Redis; with 1, a failure of the primary does not slow it down."
  type        = number
  default     = 1
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
