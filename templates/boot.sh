#!/bin/bash
# Shared by both boot scripts: logs to the console, runs Consul, signals the result to CloudFormation, and lets the
# instance leave the lab before Auto Scaling terminates it.
#
# The template sets LAB, STACK, REGION, CONSUL_IMAGE, CONSUL_SECURITY, SECRETS_GENERATION and AMAZON_DNS, and appends the
# script of the instance's role.
# Every wait is bounded, and those of the boot together are shorter than the 20 minutes of the template's CreationPolicy.
set -Eeuo pipefail

readonly SECRETS=/etc/ecsconsul
readonly FETCHED=$SECRETS/parameters
readonly CONSUL=http://127.0.0.1:8500/v1
readonly BOOT_LOG=/var/log/ecsconsul-boot.log
readonly METADATA_SECONDS=30 INSTALL_SECONDS=120 AWS_SECONDS=40 PULL_SECONDS=120 JOIN_SECONDS=60

INSTANCE_ID=''
PARAMETERS=''
MEMBERS=''
RESOURCE=''
GROUP=''
FAILURES=1
FAILED_AT='a signal that stopped the script'
export HOME=/root AWS_DEFAULT_REGION="$REGION" AWS_PAGER='' AWS_METADATA_SERVICE_NUM_ATTEMPTS=3

# EC2 keeps the console output. `ecsconsul up` reads it with GetConsoleOutput to explain a failed boot.
exec > >(sed -u 's/^/ecsconsul-boot: /' | tee -a "$BOOT_LOG" >/dev/console) 2>&1
LOGGER=$!

say() {
    echo "$*" >&2
}

# retry_for SECONDS COMMAND...: repeats the command until it succeeds; fails if it never does.
retry_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        if ((SECONDS >= end)); then
            say "gave up: $*"
            return 1
        fi
        sleep 2
    done
}

finish() {
    local status=$?
    trap - EXIT ERR
    set +e
    if ((status == 0)); then
        say "ready after $SECONDS s"
    else
        say "FAILED at $FAILED_AT"
        docker logs --tail 15 consul
        # An instance without Consul must not run tasks.
        systemctl mask --now --no-block ecs.service
        signal FAILURE
    fi
    exec >/dev/null 2>&1
    wait "$LOGGER"
    # goes on after the script: cloud-init leaves its processes alone
    after_boot "$status" </dev/null &
    exit "$status"
}
trap 'FAILED_AT="line $LINENO: $BASH_COMMAND"' ERR
trap finish EXIT

# The end of the boot log, as one event.
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
log_boot() {
    local stream=(--log-group-name "/ecsconsul/$LAB" --log-stream-name "boot/$INSTANCE_ID") text
    text=$(tail -n 100 "$BOOT_LOG" | tr -d '\000-\010\013-\037' | sed -z 's/[\\"]/\\&/g; s/\t/ /g; s/\n/\\n/g')
    aws_cli logs create-log-stream "${stream[@]}"
    aws_cli logs put-log-events "${stream[@]}" --log-events "[{\"timestamp\": $(date +%s000), \"message\": \"$text\"}]"
}

# `ecsconsul status` shows the reason. A tag has these characters, and 256 of them.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
tag_failure() {
    local reason
    reason=$(grep -B 2 'FAILED at' "$BOOT_LOG" | tail -n 3 | sed 's/^ecsconsul-boot: //' |
        tr -c 'A-Za-z0-9+=._:/@-' ' ' | tr -s ' ')
    aws_cli ec2 create-tags --resources "$INSTANCE_ID" --tags "Key=ecsconsul:boot-failure,Value=\"${reason:0:256}\""
}

# EC2 lists terminated instances for about an hour.
count_failures() {
    local found
    found=$(aws_cli ec2 describe-instances --query 'length(Reservations[].Instances[])' \
        --filters "Name=tag:ecsconsul:resource,Values=$RESOURCE" "Name=tag:ecsconsul:lab,Values=$LAB" \
        Name=tag-key,Values=ecsconsul:boot-failure) && FAILURES=$found
}

# Auto Scaling replaces an unhealthy instance, and one that doesn't run.
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-health-checks.html
be_replaced() {
    aws_cli autoscaling set-instance-health --instance-id "$INSTANCE_ID" --health-status Unhealthy \
        --no-should-respect-grace-period
}

# after_boot STATUS: what nobody waits for. Each failure of the last hour delays the replacement by ten minutes, as the
# new instance may fail as well. Where AWS can't be told, the instance shuts down after CloudFormation has given up.
after_boot() {
    if (($1 != 0)); then
        retry_for "$AWS_SECONDS" tag_failure
        retry_for "$AWS_SECONDS" count_failures
        ((FAILURES < 2)) || sleep $((600 * (FAILURES - 1)))
        retry_for "$AWS_SECONDS" be_replaced || { sleep 1500 && systemctl poweroff; }
    fi
    log_boot
}

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
metadata() {
    local url=http://169.254.169.254/latest token
    token=$(curl -fsS --max-time 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$url/api/token") || return 1
    curl -fsS --max-time 5 -H "X-aws-ec2-metadata-token: $token" "$url/meta-data/$1"
}

aws_cli() {
    timeout 30 aws --output text --cli-connect-timeout 5 --cli-read-timeout 15 "$@"
}

# The AMI is based on the minimal Amazon Linux 2023, which has no AWS CLI.
has_aws_cli() {
    command -v aws >/dev/null || timeout 120 dnf install --assumeyes --quiet awscli-2
}

# Tags say which of the stack's resources the instance belongs to, as servers of two resources share one script, and to
# which group. https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-tagging.html
find_resource() {
    local tags
    tags=$(aws_cli ec2 describe-instances --instance-ids "$INSTANCE_ID" \
        --query 'Reservations[].Instances[].Tags[].[Key,Value]') || return 1
    RESOURCE=$(sed -n 's/^ecsconsul:resource\t//p' <<<"$tags")
    GROUP=$(sed -n 's/^aws:autoscaling:groupName\t//p' <<<"$tags")
    [ -n "$RESOURCE" ]
}

# signal SUCCESS|FAILURE. If nothing waits for it, as when Auto Scaling replaces an instance, CloudFormation rejects it
# with a ValidationError, which is ignored.
signal() {
    local answer
    if [ -z "$RESOURCE" ]; then
        say "not signalled: the instance's resource in the stack is unknown"
        return 1
    fi
    for _ in 1 2 3; do
        if answer=$(aws_cli cloudformation signal-resource --stack-name "$STACK" \
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

# identify ROLE VARIABLE...: from then on, the instance leaves the lab in order; `leave_lab` uses the variables.
identify() {
    say "booting a $1 of the lab $LAB, its security $CONSUL_SECURITY, its secrets '$SECRETS_GENERATION'"
    INSTANCE_ID=$(retry_for "$METADATA_SECONDS" metadata instance-id)
    ADDRESS=$(retry_for "$METADATA_SECONDS" metadata local-ipv4)
    retry_for "$INSTALL_SECONDS" has_aws_cli
    retry_for "$AWS_SECONDS" find_resource
    say "this is $INSTANCE_ID at $ADDRESS, part of $RESOURCE"
    as_service leave GROUP "${@:2}"
}

# Consul fetches the URL of each check, also of one that a task with a token registers for its own service. The role's
# credentials must not be among what it can fetch: only root may ask the instance's metadata. Consul is another user, and
# containers on the bridge are too many hops away. The rule is there before Docker starts, after a reboot too.
protect_credentials() {
    local rule='OUTPUT -d 169.254.169.254 -m owner ! --uid-owner 0 -j REJECT' command
    command="iptables -w -C $rule 2>/dev/null || iptables -w -I $rule"
    install -d -m 0755 /etc/systemd/system/docker.service.d
    printf "[Service]\nExecStartPre=/bin/sh -c '%s'\n" "$command" >/etc/systemd/system/docker.service.d/metadata.conf
    systemctl daemon-reload
    sh -c "$command"
}

# So Consul can't ask EC2 for the other members. Those that come later join this one, and those that it has met it finds
# again by itself (rejoin_after_leave).
find_members() {
    MEMBERS=$(aws_cli ec2 describe-instances --output json \
        --query "Reservations[].Instances[?InstanceId!='$INSTANCE_ID'][].PrivateIpAddress" \
        --filters "Name=tag:ecsconsul:lab,Values=$LAB" Name=instance-state-name,Values=pending,running) &&
        [[ $MEMBERS == '['* ]]
}

# The outer folder's mode keeps other users out; Consul's user in the container can read the files in consul/.
make_config_folder() {
    rm -rf "$FETCHED"
    install -d -m 0700 "$SECRETS" "$FETCHED"
    install -d -m 0755 "$SECRETS/consul"
}

fetch_authority() {
    aws_cli ssm get-parameter --name "/ecsconsul/$LAB/ca" --query Parameter.Value >"$FETCHED/ca"
}

# Each parameter is a line `NAME<tab>VALUE`, and a line for each further line of its value.
fetch_parameters() {
    aws_cli ssm get-parameters-by-path --path "/ecsconsul/$LAB/$1" --recursive --with-decryption \
        --query 'Parameters[].[Name,Value]' >"$FETCHED/all" && [ -s "$FETCHED/all" ]
}

# Writes each parameter to a file of its name. Secrets are in files and variables of this shell only, never on a command
# line or in the environment.
split_parameters() {
    local line name file=''
    while IFS= read -r line; do
        if [[ $line == "/ecsconsul/$LAB/"*$'\t'* ]]; then
            IFS=$'\t' read -r name line <<<"$line"
            file=$FETCHED$name
            install -d "$(dirname "$file")"
        fi
        printf '%s\n' "$line" >>"$file"
    done <"$FETCHED/all"
    rm "$FETCHED/all"
}

# for_consul PARAMETER FILE: hands a parameter to Consul's user.
for_consul() {
    install -m 0644 "$PARAMETERS/$1" "$SECRETS/consul/$2"
}

# write_secrets servers|agents: writes what this instance's role may read.
write_secrets() {
    retry_for "$AWS_SECONDS" fetch_authority
    retry_for "$AWS_SECONDS" fetch_parameters "$1"
    split_parameters
    PARAMETERS=$FETCHED/ecsconsul/$LAB/$1
    for_consul "consul-$CONSUL_SECURITY" security.json
    install -m 0644 "$FETCHED/ca" "$SECRETS/consul/ca.pem"
}

# write_consul_config SERVER ADDRESSES DNS_PORT RETRY_JOIN
# HTTP, which has no encryption, is for this machine alone; ADDRESSES are where HTTPS and DNS listen.
# check_update_interval 0s: send a check's output to the servers at once; by default an unchanged state delays it by five
# minutes.
# log_file: the file is named consul-TIME.log; agent-logs.sh sends it to CloudWatch.
# raft_multiplier 1: recommended for production; the default suits tiny machines. Valid for Consul 1.8 and newer.
# https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file
write_consul_config() {
    cat >"$SECRETS/consul/agent.json" <<END
{
  "server": $1,
  "node_name": "$INSTANCE_ID",
  "bind_addr": "$ADDRESS",
  "advertise_addr": "$ADDRESS",
  "addresses": {"http": "127.0.0.1", "https": "$2", "dns": "$2"},
  "ports": {"https": 8501, "dns": $3},
  "recursors": ["$AMAZON_DNS"],
  "dns_config": {"enable_truncate": true},
  "retry_join": $4,
  "retry_interval": "5s",
  "rejoin_after_leave": true,
  "performance": {"raft_multiplier": 1},
  "leave_on_terminate": true,
  "check_update_interval": "0s",
  "disable_update_check": true,
  "log_file": "/consul/data/",
  "log_rotate_bytes": 10000000,
  "log_rotate_max_files": 2
}
END
}

has_image() {
    docker image inspect "$CONSUL_IMAGE" >/dev/null 2>&1 || { log_in && timeout 90 docker pull --quiet "$CONSUL_IMAGE"; }
}

# ECR wants a login, for which the role is enough; any other registry is asked without one.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
log_in() {
    local registry=${CONSUL_IMAGE%%/*}
    if [[ $registry == *.dkr.ecr.*.amazonaws.com* ]]; then
        aws_cli ecr get-login-password | timeout 5 docker login --username AWS --password-stdin "$registry" >/dev/null
    fi
}

# Docker restarts it whenever it exits, and after a reboot. It has 30 s to leave the cluster before Docker kills it.
# It uses Amazon's DNS: while it starts it can't answer its own queries.
run_consul() {
    retry_for "$PULL_SECONDS" has_image
    docker rm --force consul >/dev/null 2>&1 || true
    say "starting Consul"
    docker run --detach --name consul --restart always --network host --dns "$AMAZON_DNS" \
        --stop-timeout 30 --log-opt max-size=10m --log-opt max-file=3 \
        --env CONSUL_ALLOW_PRIVILEGED_PORTS=1 \
        --volume consul-data:/consul/data --volume "$SECRETS/consul:/consul/config" \
        "$CONSUL_IMAGE" agent
}

has_leader() {
    local leader
    leader=$(curl -fs --max-time 5 "$CONSUL/status/leader") && [[ $leader == *:* ]]
}

# True once the servers have a leader and list this node as alive.
has_joined() {
    local node
    has_leader || return 1
    node=$(curl -fs --max-time 5 "$CONSUL/health/node/$INSTANCE_ID") || return 1
    [[ $node == *'"CheckID":"serfHealth"'*'"Status":"passing"'* ]]
}

await_consul() {
    say "waiting for Consul to join"
    retry_for "$JOIN_SECONDS" has_joined
}

# as_service NAME VARIABLE...: lets systemd run the function NAME, with the script's functions and these variables, from
# now on and after each reboot.
as_service() {
    local program=$SECRETS/$1
    install -d -m 0700 "$SECRETS"
    {
        echo '#!/bin/bash'
        declare -p HOME LAB REGION INSTANCE_ID ADDRESS RESOURCE SECRETS CONSUL "${@:2}" \
            AWS_DEFAULT_REGION AWS_PAGER AWS_METADATA_SERVICE_NUM_ATTEMPTS
        declare -f
        echo "$1"
    } >"$program"
    cat >"/etc/systemd/system/ecsconsul-$1.service" <<END
[Unit]
After=network-online.target docker.service
[Service]
ExecStart=/bin/bash $program
Restart=always
RestartSec=10
[Install]
WantedBy=multi-user.target
END
    systemctl daemon-reload
    systemctl enable --now --no-block "ecsconsul-$1.service"
}

# hook ACTION...: for the hook of the group that waits before it terminates this instance.
hook() {
    aws_cli autoscaling "$@" --lifecycle-hook-name leave --auto-scaling-group-name "$GROUP" --instance-id "$INSTANCE_ID"
}

# Each heartbeat starts the hook's timeout anew.
heartbeats() {
    while :; do
        hook record-lifecycle-action-heartbeat
        sleep 60
    done
}

# The service that lets the instance leave the lab in order. `leave_lab`, in the script of its role, is bounded.
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
leave() {
    until [ "$(metadata autoscaling/target-lifecycle-state 2>/dev/null)" = Terminated ]; do
        sleep 5
    done
    say "Auto Scaling terminates this instance"
    local beating
    heartbeats &
    beating=$!
    leave_lab
    kill "$beating"
    retry_for 60 hook complete-lifecycle-action --lifecycle-action-result CONTINUE
    exec sleep infinity
}
