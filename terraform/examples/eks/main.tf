# Longshore on an existing EKS cluster, with EKS Pod Identity, Redis and an Application Load Balancer.

provider "aws" {
  region = var.region
}

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}

# A token for the cluster expires after 15 minutes, and Redis may take that long to create. So the providers
# ask for one when they connect, with the AWS CLI; one that Terraform reads at the plan would be too old.
locals {
  cluster_token = {
    api_version = "client.authentication.k8s.io/v1beta1"
    command     = "aws"
    args        = ["eks", "get-token", "--cluster-name", var.cluster_name, "--region", var.region, "--output", "json"]
  }
}

provider "kubernetes" {
  host                   = data.aws_eks_cluster.this.endpoint
  cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)

  exec {
    api_version = local.cluster_token.api_version
    command     = local.cluster_token.command
    args        = local.cluster_token.args
  }
}

provider "helm" {
  kubernetes = {
    host                   = data.aws_eks_cluster.this.endpoint
    cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
    exec                   = local.cluster_token
  }
}

module "bucket" {
  source = "../../modules/bucket"

  name       = var.bucket_name
  versioning = var.bucket_versioning
  tags       = var.tags
}

module "policy" {
  source = "../../modules/policy"

  name       = "${var.name}-${var.bucket_name}"
  bucket_arn = module.bucket.arn
  tags       = var.tags
}

module "role" {
  source = "../../modules/role"

  name            = local.role_name
  policy_arn      = module.policy.arn
  mode            = "pod-identity"
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.name
  tags            = var.tags
}

module "redis" {
  source = "../../modules/redis"

  name       = local.redis_name
  vpc_id     = data.aws_eks_cluster.this.vpc_config[0].vpc_id
  subnet_ids = var.redis.subnet_ids
  replicas   = var.redis.replicas
  client_security_group_ids = concat(
    [data.aws_eks_cluster.this.vpc_config[0].cluster_security_group_id],
    var.node_security_group_ids,
  )
  tags = var.tags
}

# The addresses from which the load balancer connects to the pods.
data "aws_subnet" "load_balancer" {
  for_each = toset(var.load_balancer.subnet_ids)

  id = each.value
}

locals {
  load_balancer_cidrs = [for subnet in data.aws_subnet.load_balancer : subnet.cidr_block]
}

module "release" {
  source = "../../modules/release"
  # A pod that starts before its role is associated has no credentials until its next start.
  depends_on = [module.role]

  name           = var.name
  namespace      = var.namespace
  chart          = "${path.module}/../../../helm/longshore"
  image          = var.image
  store_url      = "s3://${module.bucket.name}"
  region         = module.bucket.region
  users_secret   = var.users_secret
  redis_url      = module.redis.url
  redis_password = module.redis.password
  values         = [yamlencode(local.values)]
}

data "kubernetes_ingress_v1" "this" {
  depends_on = [module.release]

  metadata {
    name      = var.name
    namespace = var.namespace
  }
}
