output "bucket" {
  description = "The name of the bucket."
  value       = module.bucket.name
}

output "role_arn" {
  description = "The ARN of the role of the pods."
  value       = module.role.arn
}

output "redis_url" {
  description = "The address of Redis."
  value       = module.redis.url
}

output "registry" {
  description = "The address that clients use."
  value       = "https://${var.hostname}"
}

output "load_balancer" {
  description = "The DNS name of the load balancer: make the host name an alias of it. Null until the load balancer is there; then `terraform apply -refresh-only` shows it."
  value       = try(data.kubernetes_ingress_v1.this.status[0].load_balancer[0].ingress[0].hostname, null)
}

output "service" {
  description = "The address of the registry within the cluster. Its NetworkPolicy admits the load balancer only."
  value       = module.release.service
}
