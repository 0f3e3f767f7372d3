#!/bin/bash
# Boots a Consul server: the oldest one bootstraps the cluster, and the others join it.
#
# The script doesn't know how many servers there will be. CloudFormation starts the first one alone and waits until it
# leads; each further server, including a replacement, joins its quorum.

REFUSAL='no leader'
HEADER=''
SESSION=''

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

write_server_secrets() {
    for_consul certificate server.pem
    for_consul key server-key.pem
    # for curl, which reads it from the file
    HEADER=$PARAMETERS/header
    printf 'X-Consul-Token: %s\n' "$(<"$PARAMETERS/management-token")" >"$HEADER"
}

# put_acl PATH BODY. A policy or a token that is already there is as good as a new one.
put_acl() {
    local answer
    answer=$(curl -sS --max-time 5 -X PUT -H "@$HEADER" --data-binary @- --write-out '\n%{http_code}' \
        "http://127.0.0.1:8500$1" <<<"$2" 2>&1) && [[ $answer == *$'\n200' || $answer == *already* ]] && return
    REFUSAL=$answer
    return 1
}

create_acls() {
    local path body
    has_leader || return 1
    while read -r path body; do
        put_acl "$path" "$body" || return 1
    done < <(find "$PARAMETERS/acl" -type f -exec cat {} +)
}

# Servers of an earlier version, which are gone when the transition's last server has booted, know neither ACLs nor TLS.
all_use_tls() {
    local servers
    servers=$(docker exec consul consul members -detailed | grep -E ' alive +.*role=consul') || return 1
    ! grep -qv use_tls=1 <<<"$servers"
}

# Servers that demand TLS join next. Consul reads the file again when it gets the signal.
use_tls() {
    sed -i 's/"verify_outgoing": false/"verify_outgoing": true/' "$SECRETS/consul/security.json"
    docker kill --signal HUP consul
}

# Goes on after the script: cloud-init leaves its processes alone.
settle() {
    retry_for 7200 create_acls && retry_for 7200 all_use_tls && use_tls
    rm -rf "$FETCHED"
}

write_acls() {
    if [ "$CONSUL_SECURITY" = transition ]; then
        say "policies and tokens are created once no server of the earlier version is left"
        settle >/dev/null 2>&1 </dev/null &
        return
    fi
    say "creating Consul's policies and tokens"
    if ! retry_for "$JOIN_SECONDS" create_acls; then
        say "Consul's answer: $REFUSAL"
        return 1
    fi
}

# Consul answers 429 if any server is unhealthy. Servers of an earlier version don't know the token.
# https://developer.hashicorp.com/consul/api-docs/operator/autopilot#read-health
autopilot_health() {
    local health
    health=$(curl -s --max-time 5 -H "@$HEADER" "$CONSUL/operator/autopilot/health")
    [[ $health == '{'* ]] || health=$(curl -s --max-time 5 "$CONSUL/operator/autopilot/health")
    echo "$health"
}

# A server becomes a voter ten seconds after it joined. Until then, the server that it replaces must not stop.
is_voter() {
    [[ $(autopilot_health) =~ \"Name\":\"$INSTANCE_ID\"[^\}]*\"Healthy\":true,\"Voter\":true ]]
}

fetch_header() {
    local token
    HEADER=$SECRETS/header
    token=$(aws_cli ssm get-parameter --with-decryption --name "/ecsconsul/$LAB/servers/management-token" \
        --query Parameter.Value) && printf 'X-Consul-Token: %s\n' "$token" >"$HEADER"
}

find_peers() {
    PEERS=$(curl -fs --max-time 5 "$CONSUL/status/peers") && [[ $PEERS == *:* ]]
}

put_consul() {
    curl -fs --max-time 5 -H "@$HEADER" -X PUT "$@" || curl -fs --max-time 5 -X PUT "$@"
}

# One server leaves at a time: two of three that leave at once can stop before the leader has removed both. The lock ends
# with its session, and the session when the leader has removed this server.
# https://developer.hashicorp.com/consul/docs/automate/session
take_turn() {
    local answer
    [ -n "$SESSION" ] || SESSION=$(put_consul -d '{"Name": "leaving", "LockDelay": "0s", "Behavior": "delete"}' \
        "$CONSUL/session/create" | sed -n 's/.*"ID": *"\([^"]*\)".*/\1/p')
    # an error is a session that has ended, or no leader
    answer=$(put_consul -d "$INSTANCE_ID" "$CONSUL/kv/ecsconsul/leaving?acquire=$SESSION") || SESSION=''
    [[ $answer == true ]]
}

# The others must be healthy, and an only voter leaves only if nobody else is about to be one.
may_leave() {
    local health
    health=$(autopilot_health)
    [[ $health == '{"Healthy":true'* ]] || return 1
    [[ $health == *'"Voter":true'*'"Voter":true'* ]] && return
    find_servers && [ "$SERVERS" = "$INSTANCE_ID" ]
}

# Another server says so; it needs no token.
has_left() {
    local peer peers others=0
    for peer in $(tr -d '[]"' <<<"${PEERS//,/ }"); do
        [ "$peer" != "$ADDRESS:8300" ] || continue
        others=1
        peers=$(curl -fs --max-time 5 --cacert "$SECRETS/consul/ca.pem" --connect-to "::${peer%:*}:8501" \
            https://server.dc1.consul/v1/status/peers) && [[ $peers != *"\"$ADDRESS:"* ]] && return
    done
    return "$others"
}

# Consul leaves when it is stopped (leave_on_terminate). After a boot that failed there may be none.
leave_lab() {
    if docker inspect consul >/dev/null && retry_for 30 find_peers && retry_for 60 fetch_header; then
        retry_for 600 take_turn
        retry_for 300 may_leave
    fi
    docker stop consul
    retry_for 60 has_left
}

protect_credentials
disable_ecs_agent
identify consul-server
make_config_folder
write_secrets servers
write_server_secrets
retry_for "$AWS_SECONDS" find_members
# its DNS and HTTPS serve its security group's members, its HTTP `ecsconsul` through a tunnel;
# it joins agents as well as servers: when it replaces the only server, only agents are left to join
write_consul_config true "127.0.0.1 $ADDRESS" 8600 "$MEMBERS"
bootstrap_or_join
run_consul
restore_if_alone
write_acls
await_consul
retry_for "$JOIN_SECONDS" is_voter
# from now on it only ever joins, even if it loses its data: a cluster must be bootstrapped once
rm -f "$SECRETS/consul/bootstrap.json"
[ "$CONSUL_SECURITY" = transition ] || rm -rf "$FETCHED"
as_service snapshots SNAPSHOT EVERY
signal SUCCESS
