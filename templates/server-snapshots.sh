#!/bin/bash
# Makes snapshots of Consul's data for as long as this server leads, and gives the newest one to an only server's
# replacement, which starts without data.
#
# The settings are in SSM and not in the user data, whose change would replace all servers. No snapshot is worth a boot:
# a failure is said in the log.
readonly SNAPSHOT=$SECRETS/consul.snap
EVERY=60

# server_parameter NAME
server_parameter() {
    aws_cli ssm get-parameter --name "/ecsconsul/$LAB/servers/$1" --with-decryption --query Parameter.Value
}

has_snapshot_settings() {
    local found
    if ! found=$(server_parameter snapshots 2>&1); then
        [[ $found == *ParameterNotFound* ]] || say "the settings of snapshots can't be read: $found"
        return 1
    fi
    read -r EVERY KEEP BUCKET LIFE <<<"$found"
}

# The names of the lab's snapshots, the oldest first; other objects are none of our business.
list_snapshots() {
    local keys
    keys=$(aws_cli s3api list-objects-v2 --bucket "$BUCKET" --prefix "$LAB/" --query 'Contents[].[Key]') || return 1
    sed -nE "s|^$LAB/([0-9]{8}T[0-9]{6}Z_[0-9A-Za-z.+-]+_[0-9]+_[0-9a-f]{12}\.snap)\$|\1|p" <<<"$keys" | sort
}

newest_of_this_life() {
    local names
    names=$(list_snapshots) || return 1
    sed -n "/_$LIFE\.snap\$/p" <<<"$names" | tail -n 1
}

# s3_object put|get KEY OPTIONS...
s3_object() {
    timeout 300 aws s3api "$1-object" --bucket "$BUCKET" --key "$LAB/$2" "${@:3}" >/dev/null
}

# with_token ARGUMENTS...: curl with the management token, which is on no command line.
with_token() {
    curl -sS --fail --max-time 300 -H @<(printf 'X-Consul-Token: %s\n' "$MANAGEMENT") "$@"
}

seconds_ago() {
    date -u -d "@$(($(date +%s) - $1))" +%Y%m%dT%H%M%SZ
}

leads() {
    [ "$(curl -fs --max-time 5 "$CONSUL/status/leader")" = "\"$ADDRESS:8300\"" ]
}

# Consul verifies the checksums in the file, and says up to which index it goes.
inspect_snapshot() {
    docker exec -i consul sh -c 'f=$(mktemp); trap "rm -f $f" EXIT; cat >"$f"; consul snapshot inspect "$f"' <"$SNAPSHOT" |
        sed -nE 's/^ *Index +//p' | grep .
}

save_snapshot() {
    local index version name
    MANAGEMENT=$(server_parameter management-token) || return 1
    (umask 077 && with_token -o "$SNAPSHOT" "$CONSUL/snapshot") || return 1
    index=$(inspect_snapshot) || return 1
    version=$(docker exec consul consul version | sed -nE '1s/^Consul v//p') || return 1
    name=$(seconds_ago 0)_${version}_${index}_$LIFE.snap
    s3_object put "$name" --body "$SNAPSHOT" --server-side-encryption AES256 || return 1
    NEWEST=$name
    say "saved $name"
}

prune_snapshots() {
    local names name oldest
    oldest=$(seconds_ago "$KEEP")
    names=$(list_snapshots) || return 1
    head -n -1 <<<"$names" | while read -r name; do
        if [[ $name < $oldest ]]; then
            s3_object delete "$name" && say "deleted $name"
        fi
    done
}

# A new leader first looks when its predecessor made the last one.
follow_schedule() {
    [ -n "$NEWEST" ] || NEWEST=$(newest_of_this_life) || return 1
    [[ $NEWEST > $(seconds_ago "$EVERY") ]] && return
    save_snapshot && prune_snapshots
}

snapshots() {
    set -uo pipefail
    NEWEST=''
    while sleep "$((EVERY < 60 ? EVERY : 60))"; do
        if ! leads; then
            NEWEST=''
        elif has_snapshot_settings; then
            follow_schedule || say "no snapshot was made"
        fi
        rm -f "$SNAPSHOT"
    done
}

# The snapshot brings back the tokens of its time. The own management token, which the leader has made again from its
# configuration, and those of this generation stay.
delete_old_tokens() {
    local generation own tokens accessor description
    generation=$(grep -rhoEm 1 'ecsconsul agent [0-9a-f]+' "$PARAMETERS/acl/lab") || return 1
    generation=${generation##* }
    own=$(with_token "$CONSUL/acl/token/self" | grep -oE '"AccessorID": ?"[^"]+"') || return 1
    tokens=$(with_token "$CONSUL/acl/tokens" |
        sed -E 's/"AccessorID"/\n&/g' | sed -nE 's/^"AccessorID": ?"([^"]+)".*"Description": ?"([^"]*)".*/\1 \2/p')
    while read -r accessor description; do
        case $description in
        *" $generation") ;;
        'ecsconsul '* | 'Master Token' | 'Initial Management Token')
            [[ $own == *"$accessor"* ]] || with_token -X DELETE "$CONSUL/acl/token/$accessor" >/dev/null || return 1
            ;;
        esac
    done <<<"$tokens"
}

restore_snapshot() {
    local name
    has_snapshot_settings || return 0
    name=$(newest_of_this_life) || return 1
    if [ -z "$name" ]; then
        say "there is no snapshot of this lab yet"
        return 0
    fi
    say "restoring $name"
    MANAGEMENT=$(<"$PARAMETERS/management-token")
    (umask 077 && s3_object get "$name" "$SNAPSHOT") && inspect_snapshot || return 1
    retry_for "$JOIN_SECONDS" has_leader && with_token -T "$SNAPSHOT" "$CONSUL/snapshot" &&
        retry_for "$JOIN_SECONDS" create_acls && delete_old_tokens
}

# Only a server that bootstraps a cluster needs it: one that joins gets its data from the others.
restore_if_alone() {
    [ -e "$SECRETS/consul/bootstrap.json" ] || return 0
    restore_snapshot || say "NO SNAPSHOT WAS RESTORED: the key-value store may be empty; see ecsconsul snapshot restore"
    rm -f "$SNAPSHOT"
}
