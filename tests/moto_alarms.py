"""Alarms in moto's CloudFormation, which knows no AWS::CloudWatch::Alarm; moto's CloudWatch keeps them.

moto finds the class once this module is imported, before its first stack.
"""

from __future__ import annotations

from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel

# CloudFormation's name of each property that put_metric_alarm takes
PROPERTIES = {
    "Namespace": "namespace", "MetricName": "metric_name", "ComparisonOperator": "comparison_operator",
    "EvaluationPeriods": "evaluation_periods", "Period": "period", "Threshold": "threshold", "Statistic": "statistic",
    "AlarmDescription": "description", "TreatMissingData": "treat_missing_data",
}  # fmt: skip
NUMBERS = {"EvaluationPeriods", "Period", "Threshold"}


class CloudWatchAlarm(CloudFormationModel):
    """What a stack does with an alarm. CloudFormation names a resource by its logical id unless it has a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return "AlarmName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::CloudWatch::Alarm"

    @classmethod
    def create_from_cloudformation_json(  # type: ignore[override]
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> CloudWatchAlarm:
        given = cloudformation_json["Properties"]
        values = {
            PROPERTIES[key]: float(given[key]) if key in NUMBERS else given[key] for key in given if key in PROPERTIES
        }
        cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=resource_name,
            dimensions=given["Dimensions"],
            alarm_actions=given.get("AlarmActions") or [],
            ok_actions=given.get("OKActions") or [],
            tags=given["Tags"],
            **values,
        )
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(  # type: ignore[override]
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> CloudWatchAlarm:
        return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        cloudwatch_backends[account_id][region_name].delete_alarms([resource_name])
