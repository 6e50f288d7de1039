# The bucket is the only state of Longshore, so `terraform destroy` must not remove it.

resource "aws_s3_bucket" "this" {
  bucket = var.name
  tags   = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Policies alone decide about access; ACLs are off.
resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    # One KMS request for many objects instead of one for each.
    bucket_key_enabled = var.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

# A new bucket has no versions. Longshore writes blob data once, under keys that it never uses again, so old
# versions of it help only against deletion; it overwrites records (tags, links, upload sessions) all the
# time, and each old version would cost storage. Versioning lets you go back after someone has deleted
# objects with another tool.
#
# S3 never forgets that a bucket had versions: from Enabled the way leads to Suspended, not to Disabled. In a
# suspended bucket each deletion leaves a delete marker, so the rule for old versions below is always there.
resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = var.versioning
  }
}

# No rule may expire or archive current objects: an old blob is as much in use as a new one, and an archived
# one cannot be read (docs/collection.md, "What else touches the bucket").
resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket     = aws_s3_bucket.this.id
  depends_on = [aws_s3_bucket_versioning.this]

  # The parts of an abandoned upload cost storage, and no list of objects shows them.
  rule {
    id     = "abandoned multipart uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = var.incomplete_upload_days
    }
  }

  # Without it garbage collection frees nothing in a bucket that has or had versions. A bucket that never had
  # any has nothing that this rule applies to.
  rule {
    id     = "old versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    expiration {
      # Only delete markers without an older version.
      expired_object_delete_marker = true
    }
  }
}

data "aws_iam_policy_document" "transport" {
  statement {
    sid       = "OnlyTLS"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  bucket     = aws_s3_bucket.this.id
  policy     = data.aws_iam_policy_document.transport.json
  depends_on = [aws_s3_bucket_public_access_block.this]
}
