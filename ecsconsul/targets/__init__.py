"""Where a lab lives: this machine or an AWS account."""
