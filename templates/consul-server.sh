#!/bin/bash
# Boots a Consul server: the eldest begins the lab's Consul, and all later ones join it as peers.
#
# How many servers there will be stands nowhere in here. CloudFormation starts the first one alone and waits until it
# leads; the others are added to its quorum one by one as they come, and so is one that replaces another.

# A Consul server runs no tasks. Docker is what the ECS agent would have started.
without_ecs() {
    systemctl mask --now --no-block ecs.service
    systemctl enable docker.service
    systemctl start docker.service
}

servers_by_age() {
    ask_aws ec2 describe-instances --query 'Reservations[].Instances[].[LaunchTime,InstanceId]' \
        --filters "Name=tag:ecsconsul:consul-server-of,Values=$LAB" Name=instance-state-name,Values=pending,running |
        sort | cut -f 2
}

find_servers() {
    SERVERS=$(servers_by_age) && [[ $SERVERS == *"$INSTANCE_ID"* ]]
}

# In a folder that Consul reads only at its first start: with data it takes its quorum from there.
begin_or_join() {
    local eldest
    within "$AWS_SECONDS" find_servers
    read -r eldest <<<"$SERVERS"
    if [ "$eldest" = "$INSTANCE_ID" ]; then
        say "the eldest server: it begins a cluster"
        echo '{"bootstrap_expect": 1}' >"$SECRETS/consul/begin.json"
    else
        say "$eldest is older: joining it"
    fi
}

without_ecs
introduce_itself consul-server
make_config_folder
# its HTTP API and DNS are for the members of its security group, and for `ecsconsul` through a tunnel
# (it joins agents as well as servers: those have lost their only server when this one replaces it)
write_consul_config true "127.0.0.1 $ADDRESS" 8600 ecsconsul:lab
write_gossip_key
begin_or_join
run_consul
await_consul
# from now on it joins, whatever becomes of its data: only one may ever begin
rm -f "$SECRETS/consul/begin.json"
signal SUCCESS
