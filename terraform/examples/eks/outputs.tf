output "role_arn" {
  description = "The role of the pods."
  value       = module.role.arn
}

output "service" {
  description = "Where the registry is in the cluster."
  value       = module.release.service
}
