output "role_arn" {
  description = "The ARN of the role of the pods."
  value       = module.role.arn
}

output "service" {
  description = "The address of the registry within the cluster."
  value       = module.release.service
}
