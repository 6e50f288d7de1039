output "service" {
  description = "The address of the registry within the cluster."
  value       = "${var.name}.${var.namespace}.svc:5000"
}
