"""The properties whose change makes CloudFormation replace a resource, by type.

They are `createOnlyProperties` and `conditionalCreateOnlyProperties` of AWS's resource schemas, which cfn-lint brings;
a test compares them: https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html
"""

from __future__ import annotations

# of an Auto Scaling group, conditional ones are those that its update policy decides on
CREATE_ONLY: dict[str, frozenset[str]] = {
    kind: frozenset(properties.split())
    for kind, properties in {
        "AWS::AutoScaling::AutoScalingGroup": "AutoScalingGroupName InstanceId",
        "AWS::AutoScaling::LifecycleHook": "AutoScalingGroupName LifecycleHookName",
        "AWS::AutoScaling::ScalingPolicy": "AutoScalingGroupName",
        "AWS::CloudWatch::Alarm": "AlarmName",
        "AWS::CloudWatch::CompositeAlarm": "AlarmName",
        "AWS::EC2::LaunchTemplate": "LaunchTemplateName",
        "AWS::EC2::SecurityGroup": "GroupDescription GroupName VpcId",
        "AWS::EC2::SecurityGroupEgress": "CidrIp CidrIpv6 DestinationPrefixListId DestinationSecurityGroupId FromPort"
        " GroupId IpProtocol ToPort",
        "AWS::EC2::SecurityGroupIngress": "CidrIp CidrIpv6 FromPort GroupId GroupName IpProtocol SourcePrefixListId"
        " SourceSecurityGroupId SourceSecurityGroupName SourceSecurityGroupOwnerId ToPort",
        "AWS::ECS::CapacityProvider": "AutoScalingGroupProvider.AutoScalingGroupArn ClusterName Name",
        "AWS::ECS::ClusterCapacityProviderAssociations": "Cluster",
        "AWS::ElasticLoadBalancingV2::Listener": "LoadBalancerArn",
        "AWS::ElasticLoadBalancingV2::ListenerRule": "ListenerArn",
        "AWS::ElasticLoadBalancingV2::LoadBalancer": "Name Scheme Type",
        "AWS::ElasticLoadBalancingV2::TargetGroup": "IpAddressType Name Port Protocol ProtocolVersion TargetType VpcId",
        "AWS::Events::Rule": "EventBusName Name",
        "AWS::IAM::InstanceProfile": "InstanceProfileName Path",
        "AWS::IAM::ManagedPolicy": "Description ManagedPolicyName Path",
        "AWS::IAM::Policy": "",
        "AWS::IAM::Role": "Path RoleName",
        "AWS::IAM::RolePolicy": "PolicyName RoleName",
        "AWS::Logs::LogGroup": "LogGroupName",
        "AWS::Logs::MetricFilter": "FilterName LogGroupName",
        "AWS::SNS::Topic": "FifoTopic TopicName",
        "AWS::SSM::Parameter": "Name",
    }.items()
}


def is_create_only(kind: str, path: str) -> bool:
    """Whether a change of this property, or of one within it, replaces a resource of this type."""
    return any(
        path == one or path.startswith(f"{one}.") or one.startswith(f"{path}.") for one in CREATE_ONLY.get(kind, ())
    )
