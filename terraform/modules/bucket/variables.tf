variable "name" {
  description = "The name of the bucket."
  type        = string
}

variable "kms_key_arn" {
  description = "A key of KMS that encrypts the bucket. Null takes the keys of S3 itself."
  type        = string
  default     = null
}

variable "versioning" {
  description = "Whether old versions of objects are kept. See main.tf for why not."
  type        = bool
  default     = false
}

variable "noncurrent_days" {
  description = "How many days old versions are kept, with versioning."
  type        = number
  default     = 14
}

variable "incomplete_upload_days" {
  description = "After how many days the parts of an upload that nobody ends are removed."
  type        = number
  default     = 7

  validation {
    condition     = var.incomplete_upload_days >= 2
    error_message = "An upload may be paused for a day."
  }
}

variable "tags" {
  description = "Tags of the bucket."
  type        = map(string)
  default     = {}
}
