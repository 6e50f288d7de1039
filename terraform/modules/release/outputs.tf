output "service" {
  description = "Where the registry is in the cluster."
  value       = "${var.name}.${var.namespace}.svc:5000"
}
