output "bucket" {
  description = "The name of the bucket."
  value       = module.bucket.name
}

output "role_arn" {
  description = "The ARN of the role of the pods."
  value       = module.role.arn
}

output "registry" {
  description = "The address that clients use. The host name belongs to the load balancer of ingress-nginx."
  value       = "https://${var.hostname}"
}

output "service" {
  description = "The address of the registry within the cluster. Its NetworkPolicy admits ingress-nginx only."
  value       = module.release.service
}
