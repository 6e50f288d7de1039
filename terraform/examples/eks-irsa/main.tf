# Longshore on an existing EKS cluster, with IRSA and ingress-nginx, without Redis.

provider "aws" {
  region = var.region
}

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}

data "aws_iam_openid_connect_provider" "this" {
  url = data.aws_eks_cluster.this.identity[0].oidc[0].issuer
}

provider "helm" {
  kubernetes = {
    host                   = data.aws_eks_cluster.this.endpoint
    cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
    # The provider asks for a token when it connects: one that Terraform reads at the plan may have expired.
    exec = {
      api_version = "client.authentication.k8s.io/v1beta1"
      command     = "aws"
      args        = ["eks", "get-token", "--cluster-name", var.cluster_name, "--region", var.region, "--output", "json"]
    }
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

  name              = substr("${var.name}-${var.cluster_name}", 0, 64)
  policy_arn        = module.policy.arn
  mode              = "irsa"
  oidc_provider_arn = data.aws_iam_openid_connect_provider.this.arn
  namespace         = var.namespace
  service_account   = var.name
  tags              = var.tags
}

module "release" {
  source = "../../modules/release"
  # A pod that starts before its role has its policy cannot read the bucket.
  depends_on = [module.role]

  name         = var.name
  namespace    = var.namespace
  chart        = "${path.module}/../../../helm/longshore"
  image        = var.image
  store_url    = "s3://${module.bucket.name}"
  region       = module.bucket.region
  identity     = "irsa"
  role_arn     = module.role.arn
  users_secret = var.users_secret
  values       = [yamlencode(local.values)]
}
