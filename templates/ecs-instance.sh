#!/bin/bash
# Boots an ECS instance: configures the ECS agent and Docker, and runs the Consul agent that answers containers' DNS.
# the bridge's own address; DOCKER_BRIDGE, which the template sets too, has its range as well
readonly BRIDGE=${DOCKER_BRIDGE%/*}

# The logging drivers are all that a config may name, so that another one replaces no instance.
# The ECS agent starts after this script. https://github.com/aws/amazon-ecs-agent/blob/master/README.md
write_ecs_config() {
    cat >/etc/ecs/ecs.config <<END
ECS_CLUSTER=$CLUSTER
ECS_AVAILABLE_LOGGING_DRIVERS=["awslogs","fluentd","gelf","journald","json-file","splunk","syslog"]
ECS_ENABLE_TASK_IAM_ROLE=true
ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST=true
ECS_ENABLE_CONTAINER_METADATA=true
ECS_AWSVPC_BLOCK_IMDS=true
ECS_DISABLE_PRIVILEGED=true
ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=1h
ECS_IMAGE_CLEANUP_INTERVAL=30m
ECS_IMAGE_MINIMUM_CLEANUP_AGE=1h
ECS_RESERVED_MEMORY=128
ECS_RESERVED_PORTS=[22,53,2375,2376,8301,8500,8501,51678,51679,51680]
ECS_RESERVED_PORTS_UDP=[53,8301]
END
}

has_others() {
    find_members && [[ $MEMBERS == *[0-9]* ]]
}

# The bridge has a fixed address, at which every container finds the agent. Without the userland proxy, tasks see the
# real source of a connection; the AMI's own daemon.json, which this one replaces, turns it off too.
write_docker_config() {
    install -d -m 0755 /etc/docker
    cat >/etc/docker/daemon.json <<END
{
  "bip": "$DOCKER_BRIDGE",
  "dns": ["$BRIDGE", "$AMAZON_DNS"],
  "dns-search": ["service.consul"],
  "log-opts": {"max-size": "10m", "max-file": "3"},
  "userland-proxy": false
}
END
    systemctl enable docker.service
    systemctl restart docker.service
}

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-introspection.html
find_container_instance() {
    CONTAINER_INSTANCE=$(curl -fs --max-time 5 http://127.0.0.1:51678/v1/metadata |
        sed -n 's/.*"ContainerInstanceArn": *"\([^"]*\)".*/\1/p') && [ -n "$CONTAINER_INSTANCE" ]
}

drain() {
    [ "$(aws_cli ecs update-container-instances-state --cluster "$CLUSTER" --status DRAINING \
        --container-instances "$CONTAINER_INSTANCE" --query 'containerInstances[].status')" = DRAINING ]
}

# ECS starts the tasks of services elsewhere, and then stops them here. It stops daemons last, and doesn't stop tasks
# without a service: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-draining.html
# A task that ECS no longer desires can still have requests to answer, so its containers count.
is_drained() {
    local found tasks left
    found=$(docker ps --filter label=com.amazonaws.ecs.task-arn \
        --format '{{.Label "com.amazonaws.ecs.task-arn"}}') || return 1
    [ -n "$found" ] || return 0
    mapfile -t tasks < <(sort -u <<<"$found")
    left=$(aws_cli ecs describe-tasks --cluster "$CLUSTER" --tasks "${tasks[@]:0:100}" \
        --query "tasks[?starts_with(group, 'service:') && group != 'service:registrator'].taskArn") && [ -z "$left" ]
}

# Without an ECS agent, as after a boot that failed, there is nothing to drain.
leave_lab() {
    if retry_for 30 find_container_instance; then
        say "draining $CONTAINER_INSTANCE"
        retry_for 60 drain
        retry_for 900 is_drained
    fi
    docker stop consul
}

identify ecs-instance CLUSTER
write_ecs_config
protect_credentials
write_docker_config
make_config_folder
write_secrets agents
retry_for "$AWS_SECONDS" has_others
# tasks reach it at the bridge's address; containers on the host's network, such as Registrator, at 127.0.0.1
write_consul_config false "127.0.0.1 $BRIDGE" 53 "$MEMBERS"
rm -rf "$FETCHED"
run_consul
await_consul
signal SUCCESS
