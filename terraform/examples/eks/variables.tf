variable "region" {
  description = "The region of the cluster and of the bucket."
  type        = string
}

variable "cluster_name" {
  description = "The cluster. It has the EKS Pod Identity agent and the AWS Load Balancer Controller."
  type        = string
}

variable "bucket_name" {
  description = "The name of the bucket, which is made."
  type        = string
}

variable "namespace" {
  description = "The namespace, which exists."
  type        = string
  default     = "longshore"
}

variable "subnet_ids" {
  description = "Private subnets of the cluster, for Redis."
  type        = list(string)
}

variable "vpc_cidr" {
  description = "The network of the load balancer."
  type        = string
}

variable "image_registry" {
  description = "The registry that the image of Longshore comes from."
  type        = string
}

variable "users_secret" {
  description = "The Secret with the users (key htpasswd), which exists."
  type        = string
  default     = "longshore-users"
}

variable "hostname" {
  description = "The name of the registry for its clients."
  type        = string
}

variable "certificate_arn" {
  description = "Its certificate in ACM."
  type        = string
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
