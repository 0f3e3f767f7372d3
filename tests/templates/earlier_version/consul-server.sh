#!/bin/bash
# Boots a Consul server: the oldest one bootstraps the cluster, and the others join it.
#
# The script doesn't know how many servers there will be. CloudFormation starts the first one alone and waits until it
# leads; each further server, including a replacement, joins its quorum.

# A Consul server runs no tasks. Without the ECS agent, Docker must be started here.
disable_ecs_agent() {
    systemctl mask --now --no-block ecs.service
    systemctl enable docker.service
    systemctl start docker.service
}

servers_by_age() {
    aws_cli ec2 describe-instances --query 'Reservations[].Instances[].[LaunchTime,InstanceId]' \
        --filters "Name=tag:ecsconsul:consul-server-of,Values=$LAB" Name=instance-state-name,Values=pending,running |
        sort | cut -f 2
}

find_servers() {
    SERVERS=$(servers_by_age) && [[ $SERVERS == *"$INSTANCE_ID"* ]]
}

# Consul uses bootstrap_expect only on its first start; after that its data has the quorum.
bootstrap_or_join() {
    local oldest
    retry_for "$AWS_SECONDS" find_servers
    read -r oldest <<<"$SERVERS"
    if [ "$oldest" = "$INSTANCE_ID" ]; then
        say "the oldest server: bootstrapping a new cluster"
        echo '{"bootstrap_expect": 1}' >"$SECRETS/consul/bootstrap.json"
    else
        say "joining $oldest, which is older"
    fi
}

disable_ecs_agent
identify consul-server
make_config_folder
# its HTTP API and DNS serve its security group's members, and `ecsconsul` through a tunnel;
# it joins agents as well as servers: when it replaces the only server, only agents are left to join
write_consul_config true "127.0.0.1 $ADDRESS" 8600 ecsconsul:lab
write_gossip_key
bootstrap_or_join
run_consul
await_consul
# from now on it only ever joins, even if it loses its data: a cluster must be bootstrapped once
rm -f "$SECRETS/consul/bootstrap.json"
signal SUCCESS
