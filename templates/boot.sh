#!/bin/bash
# What both boot scripts share: says everything on the console, runs Consul, and tells CloudFormation how it ended.
#
# The template tells LAB, STACK, REGION, CONSUL_IMAGE and AMAZON_DNS, and puts the script of the instance's role after
# this one. Every wait has an end, and all of them together end before the 20 minutes of the template's CreationPolicy.
# Mind: all this becomes the text of a Fn::Sub, which a variable in braces would be for.
set -Eeuo pipefail

readonly SECRETS=/etc/ecsconsul
readonly BOOT_LOG=/var/log/ecsconsul-boot.log
readonly METADATA_SECONDS=30 INSTALL_SECONDS=120 AWS_SECONDS=40 PULL_SECONDS=150 JOIN_SECONDS=120

INSTANCE_ID=''
RESOURCE=''
FAILED_AT='it was ended'
export HOME=/root AWS_DEFAULT_REGION="$REGION" AWS_PAGER='' AWS_METADATA_SERVICE_NUM_ATTEMPTS=3

# EC2 keeps what the console shows, and GetConsoleOutput answers it: `ecsconsul up` looks there for why a boot failed.
exec > >(sed -u 's/^/ecsconsul-boot: /' | tee -a "$BOOT_LOG" >/dev/console) 2>&1
LOGGER=$!

say() {
    echo "$*" >&2
}

# within SECONDS COMMAND...: until the command succeeds; fails when it has not by then.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        if ((SECONDS >= end)); then
            say "given up: $*"
            return 1
        fi
        sleep 2
    done
}

ended() {
    local status=$?
    trap - EXIT ERR
    set +e
    if ((status == 0)); then
        say "ready after $SECONDS s"
    else
        say "FAILED at $FAILED_AT"
        docker logs --tail 15 consul
        # An instance without Consul must get no tasks.
        systemctl mask --now --no-block ecs.service
        signal FAILURE
    fi
    exec >/dev/null 2>&1
    wait "$LOGGER"
    exit "$status"
}
trap 'FAILED_AT="line $LINENO: $BASH_COMMAND"' ERR
trap ended EXIT

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
metadata() {
    local url=http://169.254.169.254/latest token
    token=$(curl -fsS --max-time 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$url/api/token") || return 1
    curl -fsS --max-time 5 -H "X-aws-ec2-metadata-token: $token" "$url/meta-data/$1"
}

ask_aws() {
    timeout 30 aws --output text --cli-connect-timeout 5 --cli-read-timeout 15 "$@"
}

# The AMI is built on the minimal Amazon Linux 2023, which has no AWS CLI.
has_aws_cli() {
    command -v aws >/dev/null || timeout 120 dnf install --assumeyes --quiet awscli-2
}

# The instance says of itself which resource of the stack it is: servers of two resources share one script.
find_resource() {
    RESOURCE=$(ask_aws ec2 describe-instances --instance-ids "$INSTANCE_ID" \
        --query "Reservations[].Instances[].Tags[?Key=='ecsconsul:resource'].Value") && [ -n "$RESOURCE" ]
}

# signal SUCCESS|FAILURE. Where nobody waits (Auto Scaling replaces an instance) CloudFormation refuses it: no harm.
signal() {
    local answer
    if [ -z "$RESOURCE" ]; then
        say "not signalled: it does not know as which resource of the stack"
        return 1
    fi
    for _ in 1 2 3; do
        if answer=$(ask_aws cloudformation signal-resource --stack-name "$STACK" \
            --logical-resource-id "$RESOURCE" --unique-id "$INSTANCE_ID" --status "$1" 2>&1); then
            say "signalled $1 for $RESOURCE"
            return 0
        fi
        say "not signalled: $answer"
        if [[ $answer == *ValidationError* ]]; then
            return 0
        fi
        sleep 2
    done
    return 1
}

# introduce_itself ROLE
introduce_itself() {
    say "$1 of the lab $LAB, booting"
    INSTANCE_ID=$(within "$METADATA_SECONDS" metadata instance-id)
    ADDRESS=$(within "$METADATA_SECONDS" metadata local-ipv4)
    within "$INSTALL_SECONDS" has_aws_cli
    within "$AWS_SECONDS" find_resource
    say "it is $INSTANCE_ID at $ADDRESS, of $RESOURCE"
}

# The folder's own mode keeps others on the host out; Consul's user in the container reads the files in it.
make_config_folder() {
    install -d -m 0700 "$SECRETS"
    install -d -m 0755 "$SECRETS/consul"
}

gossip_key() {
    ask_aws ssm get-parameter --name "/ecsconsul/$LAB/gossip-key" --with-decryption --query Parameter.Value
}

write_gossip_key() {
    local key
    key=$(within "$AWS_SECONDS" gossip_key)
    # printf is the shell's own: the key is on no command line
    printf '{"encrypt": "%s"}\n' "$key" >"$SECRETS/consul/gossip.json"
}

# write_consul_config SERVER CLIENT_ADDRESSES DNS_PORT TAG, the tag of those that it joins
# What a check says is told to the servers at once, and not after five minutes where its state stays the same.
# Valid for Consul 1.8 and newer; the multiplier is the one that production is advised, the default is for tiny machines.
# https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file
write_consul_config() {
    cat >"$SECRETS/consul/agent.json" <<END
{
  "server": $1,
  "node_name": "$INSTANCE_ID",
  "bind_addr": "$ADDRESS",
  "advertise_addr": "$ADDRESS",
  "client_addr": "$2",
  "ports": {"dns": $3},
  "recursors": ["$AMAZON_DNS"],
  "dns_config": {"enable_truncate": true},
  "retry_join": [
    "provider=aws region=$REGION tag_key=$4 tag_value=$LAB addr_type=private_v4"
  ],
  "retry_interval": "5s",
  "performance": {"raft_multiplier": 1},
  "leave_on_terminate": true,
  "check_update_interval": "0s",
  "disable_update_check": true
}
END
}

has_image() {
    docker image inspect "$CONSUL_IMAGE" >/dev/null 2>&1 || timeout 120 docker pull --quiet "$CONSUL_IMAGE"
}

# Docker starts it again whenever it ends, and after a reboot. 30 s let it leave before it is killed.
# It may ask Amazon's DNS only: of itself it would ask in vain while it starts.
run_consul() {
    within "$PULL_SECONDS" has_image
    docker rm --force consul >/dev/null 2>&1 || true
    say "starting Consul"
    docker run --detach --name consul --restart always --network host --dns "$AMAZON_DNS" \
        --stop-timeout 30 --log-opt max-size=10m --log-opt max-file=3 \
        --env CONSUL_ALLOW_PRIVILEGED_PORTS=1 \
        --volume consul-data:/consul/data --volume "$SECRETS/consul:/consul/config" \
        "$CONSUL_IMAGE" agent
}

# It has when the servers have a leader, and list this node as alive.
has_joined() {
    local url=http://127.0.0.1:8500/v1 leader node
    leader=$(curl -fs --max-time 5 "$url/status/leader") || return 1
    node=$(curl -fs --max-time 5 "$url/health/node/$INSTANCE_ID") || return 1
    [[ $leader == *:* && $node == *'"CheckID":"serfHealth"'*'"Status":"passing"'* ]]
}

await_consul() {
    say "waiting until it has joined"
    within "$JOIN_SECONDS" has_joined
}
