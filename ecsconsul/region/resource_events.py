"""Lets moto's stacks have the events that CloudFormation's have: for each resource that is made, changed or deleted.

moto only has those of the stack itself. It makes a resource when it's first referred to, so the events of a resource
are recorded when it's ready: those that it needs are ready before, as in AWS.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
"""

from __future__ import annotations

from typing import Any

INITIATED = "Resource creation Initiated"


def fix_stack_events() -> None:
    """Replace the functions of moto's that say nothing of resources; fine to repeat."""
    from moto.cloudformation import parsing
    from moto.cloudformation.models import Stack

    if getattr(Stack, "has_resource_events", False):
        return
    Stack.has_resource_events = True  # type: ignore[attr-defined]
    create, update = parsing.parse_and_create_resource, parsing.parse_and_update_resource
    delete, stack_event = parsing.ResourceMap._delete_resource, Stack._add_stack_event
    new_map = Stack._create_resource_map

    def created(logical_id: str, resource_json: Any, resources_map: Any, *context: Any, **more: Any) -> Any:
        found = create(logical_id, resource_json, resources_map, *context, **more)
        if found:
            kind = resource_json["Type"]
            _record(resources_map, logical_id, kind, "CREATE_IN_PROGRESS")
            _record(resources_map, logical_id, kind, "CREATE_IN_PROGRESS", found, INITIATED)
            _record(resources_map, logical_id, kind, "CREATE_COMPLETE", found)
        return found

    def updated(logical_id: str, resource_json: Any, resources_map: Any, *context: Any, **more: Any) -> Any:
        before = resources_map[logical_id]
        found = update(logical_id, resource_json, resources_map, *context, **more)
        if found:
            kind = resource_json["Type"]
            _record(resources_map, logical_id, kind, "UPDATE_IN_PROGRESS", before)
            _record(resources_map, logical_id, kind, "UPDATE_COMPLETE", found)
        return found

    def deleted(self: Any, parsed_resource: Any, resource_json: Any) -> None:
        delete(self, parsed_resource, resource_json)
        name, kind = parsed_resource.logical_resource_id, resource_json["Type"]
        _record(self, name, kind, "DELETE_IN_PROGRESS", parsed_resource)
        _record(self, name, kind, "DELETE_COMPLETE", parsed_resource)

    def of_stack(self: Any, resource_status: str, *more: Any, **named: Any) -> None:
        stack_event(self, resource_status, *more, **named)
        if resource_status == "CREATE_IN_PROGRESS" and not _is_reviewed(self):
            # an exported output makes its resources before moto says that the stack begins
            event = self.events.pop()
            event.timestamp = min([event.timestamp, *(one.timestamp for one in self.events)])
            self.events.insert(0, event)

    def resource_map(self: Any) -> Any:
        found = new_map(self)
        found.stack_with_events = self  # type: ignore[attr-defined]
        return found

    Stack._create_resource_map = resource_map  # type: ignore[method-assign]
    parsing.parse_and_create_resource = created
    parsing.parse_and_update_resource = updated
    parsing.ResourceMap._delete_resource = deleted  # type: ignore[method-assign]
    Stack._add_stack_event = of_stack  # type: ignore[method-assign]


def _is_reviewed(stack: Any) -> bool:
    """Whether the stack was created by a change set, whose event comes first."""
    return any(event.resource_status == "REVIEW_IN_PROGRESS" for event in stack.events)


def _record(
    resources: Any, logical_id: str, kind: str, status: str, resource: Any = None, reason: str | None = None
) -> None:
    """Add the event of a resource to its stack."""
    from moto.cloudformation.models import Event

    stack = resources.stack_with_events
    physical_id = getattr(resource, "physical_resource_id", None) or ""
    event = Event(
        stack_id=stack.stack_id,
        stack_name=stack.name,
        logical_resource_id=logical_id,
        physical_resource_id=physical_id,
        resource_type=kind,
        resource_status=status,
        resource_status_reason=reason,
        resource_properties=None,
    )
    stack.events.append(event)
