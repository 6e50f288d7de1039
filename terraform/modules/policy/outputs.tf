output "arn" {
  description = "The ARN of the policy."
  value       = aws_iam_policy.this.arn
}

output "json" {
  description = "The policy, for a user or a role that is made elsewhere."
  value       = data.aws_iam_policy_document.this.json
}
