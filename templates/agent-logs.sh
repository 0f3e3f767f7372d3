#!/bin/bash
# Sends the logs of Consul and of the ECS agent to CloudWatch, by Amazon's agent. It is installed after the boot, which
# doesn't depend on it, and it reads files: nothing that writes them waits for CloudWatch.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Agent-Configuration-File-Details.html

has_log_agent() {
    command -v amazon-cloudwatch-agent-ctl >/dev/null ||
        timeout 300 dnf install --assumeyes --quiet amazon-cloudwatch-agent
}

# log_file STREAM PATH. Of several files that match, the agent reads the newest.
log_file() {
    echo "{\"file_path\": \"$2\", \"log_group_name\": \"/ecsconsul/$LAB\", \"log_stream_name\": \"$1/$INSTANCE_ID\"," \
        "\"timestamp_format\": \"%Y-%m-%dT%H:%M:%S\", \"timezone\": \"UTC\"}"
}

write_log_config() {
    cat >"$SECRETS/logs.json" <<END
{"agent": {"run_as_user": "root"}, "logs": {"logs_collected": {"files": {"collect_list": [
$(log_file consul "/var/lib/docker/volumes/consul-data/_data/consul-*.log"),
$(log_file ecs-agent /var/log/ecs/ecs-agent.log),
$(log_file ecs-init /var/log/ecs/ecs-init.log)
]}}}}
END
}

# After half an hour it gives up until the instance reboots.
ship_logs() {
    write_log_config
    retry_for 1800 has_log_agent &&
        amazon-cloudwatch-agent-ctl -a fetch-config -m ec2 -s -c "file:$SECRETS/logs.json"
    exec sleep infinity
}

as_service ship_logs || say "no logs are sent to CloudWatch"
