"""The CloudFormation templates, shipped with the package; launching them is left to steps/step2_stack.py."""
