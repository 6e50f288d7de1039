# Exactly the permissions that Longshore uses. tests/deploy/terraform/run reads the calls of src/store/s3 and
# fails if a permission is missing here, or if no call needs one that is here.

locals {
  # On the objects.
  object_actions = [
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
  ]

  # On the bucket. Without the first S3 answers 403 instead of 404 for an absent object. It has no condition
  # on `s3:prefix`, because a request for an object has no such key, and S3 would answer 403 again. So with a
  # prefix Longshore can list the keys of others in the bucket, but not read them.
  bucket_actions = [
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
  ]

  # S3 calls KMS on behalf of Longshore: to write, to read, and to complete multipart uploads.
  kms_actions = [
    "kms:Decrypt",
    "kms:GenerateDataKey",
  ]

  below = var.prefix == "" ? "" : "${var.prefix}/"
}

data "aws_iam_policy_document" "this" {
  statement {
    sid       = "Objects"
    actions   = local.object_actions
    resources = ["${var.bucket_arn}/${local.below}*"]
  }

  statement {
    sid       = "Lists"
    actions   = local.bucket_actions
    resources = [var.bucket_arn]
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [var.kms_key_arn]

    content {
      sid       = "Key"
      actions   = local.kms_actions
      resources = [statement.value]
    }
  }
}

resource "aws_iam_policy" "this" {
  name        = var.name
  description = "What Longshore does with its bucket"
  policy      = data.aws_iam_policy_document.this.json
  tags        = var.tags
}
