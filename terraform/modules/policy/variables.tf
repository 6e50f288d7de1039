variable "name" {
  description = "The name of the policy."
  type        = string
}

variable "bucket_arn" {
  description = "The ARN of the bucket."
  type        = string
}

variable "prefix" {
  description = "What all keys begin with, as in store.url = s3://bucket/prefix; empty is the whole bucket."
  type        = string
  default     = ""

  validation {
    condition     = var.prefix == "" || can(regex("^[^/*?].*[^/*?]$|^[^/*?]$", var.prefix))
    error_message = "The prefix has no slash at its ends and no wildcards."
  }
}

variable "kms_key_arn" {
  description = "The key of KMS that encrypts the bucket, if there is one."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the policy."
  type        = map(string)
  default     = {}
}
