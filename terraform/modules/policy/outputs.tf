output "arn" {
  description = "The ARN of the policy."
  value       = aws_iam_policy.this.arn
}

output "json" {
  description = "The policy as JSON, for a user or a role that you create elsewhere."
  value       = data.aws_iam_policy_document.this.json
}
