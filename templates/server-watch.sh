#!/bin/bash
# Publishes what the lab's alarms watch: the Consul server that leads counts members and failing checks each minute.
# All of it can be read without a token.

# metric NAME VALUE
metric() {
    echo "MetricName=$1,Value=$2,Unit=Count,Dimensions=[{Name=Lab,Value=$LAB}]"
}

# count_members MEMBERS PEERS CHECKS: alive servers that are in the quorum, alive agents, and the critical checks of both.
# What was registered on a node that is gone stays critical for days, though another node has replaced it.
count_members() {
    local name address status role _
    SERVERS=0 AGENTS=0 FAILING=0
    while read -r name address status role _; do
        [ "$status" = alive ] || continue
        if [ "$role" = client ]; then
            ((AGENTS += 1))
        elif [[ $2 == *"\"${address%:*}:8300\""* ]]; then
            ((SERVERS += 1))
        fi
        ((FAILING += $(grep -o "\"Node\":\"$name\",\"CheckID\"" <<<"$3" | wc -l)))
    done <<<"$1"
}

publish() {
    local leader members peers checks
    leader=$(curl -fs --max-time 5 "$CONSUL/status/leader")
    # shellcheck disable=SC2153 # boot.sh sets ADDRESS
    [ "$leader" = "\"$ADDRESS:8300\"" ] || return 0
    peers=$(curl -fs --max-time 5 "$CONSUL/status/peers") &&
        checks=$(curl -fs --max-time 5 "$CONSUL/health/state/critical") &&
        members=$(timeout 20 docker exec consul consul members) || return 1
    count_members "$members" "$peers" "$checks"
    aws_cli cloudwatch put-metric-data --namespace ecsconsul --metric-data \
        "$(metric Servers "$SERVERS")" "$(metric EcsInstances "$AGENTS")" "$(metric FailingChecks "$FAILING")"
}

server_watch() {
    while :; do
        publish || say "not published"
        sleep $((60 - SECONDS % 60))
    done
}

as_service server_watch || say "no metrics are published"
