output "url" {
  description = "The value for cache.redis."
  value       = "rediss://${aws_elasticache_replication_group.this.primary_endpoint_address}:6379"
}

output "password" {
  description = "The password. The Terraform state contains it, so keep the state secret."
  value       = random_password.this.result
  sensitive   = true
}
