output "url" {
  description = "What cache.redis is set to."
  value       = "rediss://${aws_elasticache_replication_group.this.primary_endpoint_address}:6379"
}

output "password" {
  description = "The password. It is in the state of Terraform, which has to be kept as a secret."
  value       = random_password.this.result
  sensitive   = true
}
