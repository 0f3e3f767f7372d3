"""The AWS target: a lab in an AWS account."""
