variable "name" {
  description = "The name of the replication group."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets in at least two zones."
  type        = list(string)
}

variable "client_security_group_ids" {
  description = "The security groups of the nodes or pods that may connect."
  type        = list(string)
}

variable "node_type" {
  description = "The size of a node. Longshore keeps small things there for minutes."
  type        = string
  default     = "cache.t4g.small"
}

variable "replicas" {
  description = "Nodes besides the primary. Redis is a hint, so none is enough; with one a failure is not felt."
  type        = number
  default     = 1
}

variable "kms_key_arn" {
  description = "A key of KMS for what lies on disk. Null takes that of ElastiCache."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
