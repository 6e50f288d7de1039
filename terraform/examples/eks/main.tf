# Longshore on an existing EKS cluster: bucket, policy, role, Redis, release.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.90"
    }
    helm = {
      source  = "hashicorp/helm"
      version = ">= 3.0"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = ">= 2.35"
    }
  }
}

provider "aws" {
  region = var.region
}

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}

# A token of this kind expires after 15 minutes, and Redis may take that long to create: then the release
# fails with 401, and a second `terraform apply` completes it.
data "aws_eks_cluster_auth" "this" {
  name = var.cluster_name
}

provider "kubernetes" {
  host                   = data.aws_eks_cluster.this.endpoint
  cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
  token                  = data.aws_eks_cluster_auth.this.token
}

provider "helm" {
  kubernetes = {
    host                   = data.aws_eks_cluster.this.endpoint
    cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
    token                  = data.aws_eks_cluster_auth.this.token
  }
}

module "bucket" {
  source = "../../modules/bucket"

  name = var.bucket_name
  tags = var.tags
}

module "policy" {
  source = "../../modules/policy"

  name       = "longshore-${var.bucket_name}"
  bucket_arn = module.bucket.arn
  tags       = var.tags
}

module "role" {
  source = "../../modules/role"

  name            = "longshore-${var.cluster_name}"
  policy_arn      = module.policy.arn
  mode            = "pod-identity"
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = "longshore"
  tags            = var.tags
}

module "redis" {
  # Add the security groups of nodes that have their own (self-managed nodes, Karpenter) to
  # `client_security_group_ids`: otherwise Longshore runs there without Redis, and reports no error.
  source = "../../modules/redis"

  name                      = "longshore"
  vpc_id                    = data.aws_eks_cluster.this.vpc_config[0].vpc_id
  subnet_ids                = var.subnet_ids
  client_security_group_ids = [data.aws_eks_cluster.this.vpc_config[0].cluster_security_group_id]
  tags                      = var.tags
}

module "release" {
  source = "../../modules/release"
  # A pod that starts before its role is associated has no credentials until its next start.
  depends_on = [module.role]

  namespace      = var.namespace
  chart          = "${path.module}/../../../helm/longshore"
  image_registry = var.image_registry
  store_url      = "s3://${module.bucket.name}"
  region         = module.bucket.region
  users_secret   = var.users_secret
  redis_url      = module.redis.url
  redis_password = module.redis.password

  values = [
    yamlencode({
      ingress = {
        enabled    = true
        className  = "alb"
        controller = "alb"
        hosts      = [var.hostname]
        annotations = {
          "alb.ingress.kubernetes.io/scheme"          = "internal"
          "alb.ingress.kubernetes.io/listen-ports"    = jsonencode([{ HTTPS = 443 }])
          "alb.ingress.kubernetes.io/certificate-arn" = var.certificate_arn
        }
      }
      networkPolicy = {
        # The load balancer sends its health checks from outside of the cluster. This admits every address of
        # the VPC; narrow it to the subnets of the load balancer where pods have others.
        adminFrom = [{ ipBlock = { cidr = var.vpc_cidr } }]
      }
      # Every address in this network may set X-Forwarded-For; the same remark applies.
      trustedProxies = [var.vpc_cidr]
    })
  ]
}
