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
  description = "Disabled: a bucket that has never had versions. Enabled: it keeps old versions for noncurrent_days. Suspended: it had versions once; S3 has no way back to Disabled."
  type        = string
  default     = "Disabled"

  validation {
    condition     = contains(["Disabled", "Enabled", "Suspended"], var.versioning)
    error_message = "versioning is Disabled, Enabled or Suspended."
  }
}

variable "noncurrent_days" {
  description = "Days after which an old version expires, in a bucket that has or had versions."
  type        = number
  default     = 14

  validation {
    condition     = var.noncurrent_days >= 1 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days is a whole number of at least 1."
  }
}

variable "incomplete_upload_days" {
  description = "Days after its beginning after which S3 removes the parts of an upload that has not ended. More than your slowest upload takes, and more than collection.grace."
  type        = number
  default     = 7

  validation {
    condition     = var.incomplete_upload_days >= 3 && floor(var.incomplete_upload_days) == var.incomplete_upload_days
    error_message = "Use at least 3 days: a client may continue an upload until collection.grace (2 days) after its last request."
  }
}

variable "tags" {
  description = "Tags of the bucket."
  type        = map(string)
  default     = {}
}
