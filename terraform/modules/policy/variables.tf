variable "name" {
  description = "The name of the policy."
  type        = string
}

variable "bucket_arn" {
  description = "The ARN of the bucket."
  type        = string
}

variable "prefix" {
  description = "The prefix of all keys, as in store.url = s3://bucket/prefix. Empty: the whole bucket."
  type        = string
  default     = ""

  validation {
    condition     = var.prefix == "" || can(regex("^[^/*?].*[^/*?]$|^[^/*?]$", var.prefix))
    error_message = "The prefix has no slash at its ends and no wildcards."
  }
}

variable "kms_key_arn" {
  description = "The ARN of the KMS key that encrypts the bucket, if there is one."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the policy."
  type        = map(string)
  default     = {}
}
