"""The CloudFormation template and its boot scripts, shipped with the package."""
