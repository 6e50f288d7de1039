variable "name" {
  description = "The name of the bucket."
  type        = string
}

variable "kms_key_arn" {
  description = "The ARN of the KMS key that encrypts the bucket. Null: keys managed by S3."
  type        = string
  default     = null
}

variable "versioning" {
  description = "Whether the bucket keeps old versions of objects. main.tf explains the default."
  type        = bool
  default     = false
}

variable "noncurrent_days" {
  description = "With versioning: days after which an old version expires."
  type        = number
  default     = 14
}

variable "incomplete_upload_days" {
  description = "Days after which S3 removes the parts of an abandoned upload."
  type        = number
  default     = 7

  validation {
    condition     = var.incomplete_upload_days >= 2
    error_message = "Use at least 2 days: a client may pause an upload for a day."
  }
}

variable "tags" {
  description = "Tags of the bucket."
  type        = map(string)
  default     = {}
}
