variable "region" {
  description = "The region of the cluster and of the bucket."
  type        = string
}

variable "cluster_name" {
  description = "The name of the cluster. It needs the EKS Pod Identity agent and the AWS Load Balancer Controller."
  type        = string
}

variable "bucket_name" {
  description = "The name of the bucket to create."
  type        = string
}

variable "namespace" {
  description = "The namespace. It must exist, with the Secret of users_secret in it."
  type        = string
  default     = "longshore"
}

variable "subnet_ids" {
  description = "Private subnets of the cluster, for Redis."
  type        = list(string)
}

variable "vpc_cidr" {
  description = "The network of the load balancer, as a CIDR block."
  type        = string
}

variable "image_registry" {
  description = "The registry of the image: nodes pull image_registry/longshore:VERSION, so push it there first."
  type        = string
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

variable "certificate_arn" {
  description = "The ARN of the ACM certificate for that host name."
  type        = string
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}
