#!/bin/sh
# Makes the system tables of a new volume, once. A volume that was in use is left alone, also an empty one; of one
# that another series of the engine has written it is only said whether this image may open it, and how.
set -eu
data=/var/lib/mysql/data
record=/var/lib/mysql/series # the newest series that has opened the data; then that which wrote it, until it is up to date
task=/run/mysqld/upgrade     # what `upgrade.sh` is to do, if anything
mkdir -p /var/lib/mysql/empty /var/lib/mysql/temporary
rm -f "$task"
version=$(mariadbd --no-defaults --version)
version=${version#*Ver } && rest=${version#*.} && own=${version%%.*}.${rest%%.*}
number() { # of a series, to be compared: 10011 of 10.11
    echo $((${1%.*} * 1000 + ${1#*.}))
}
newest_definition() { # the newest series that has defined a system table: each definition begins with who wrote it
    newest=0
    for each in "$data"/mysql/*.frm; do
        # Those of views are text.
        [ -f "$each" ] && [ "$(od -An -tu2 -N2 "$each" | tr -d ' ')" = 510 ] || continue
        found=$(od -An -tu4 -j51 -N4 "$each" | tr -d ' ')
        [ "$found" -le "$newest" ] || newest=$found
    done
    echo $((newest / 10000)).$((newest / 100 % 100))
}
if [ -d "$data" ]; then
    newest= from=
    if [ -f "$record" ]; then read -r newest from <"$record" || :; fi
    # A volume of before there were records.
    [ -n "$newest" ] || newest=$(newest_definition)
    if [ "$(number "$newest")" -gt "$(number "$own")" ]; then
        echo "the data was opened by MariaDB $newest, this is $own: it is left untouched" >&2
        exit 65
    fi
    [ -n "$from" ] || [ "$(number "$newest")" -lt "$(number "$own")" ] || exit 0
    for tool in mariadb-upgrade mariadb mariadb-check; do
        command -v "$tool" >/dev/null || {
            echo "the data was written by MariaDB ${from:-$newest}, and there is no $tool: it is left untouched" >&2
            exit 66
        }
    done
    echo "$own ${from:-$newest}" >"$task"
    echo older >/run/prepared
    exit 0
fi
if [ "$(cat /etc/byoc/engine/volume)" != new ]; then
    echo "the volume was in use before and is empty now: it is not initialised again" >&2
    exit 64
fi
for share in /usr/share/mariadb /usr/share/mysql; do
    [ ! -f "$share/maria_add_gis_sp_bootstrap.sql" ] || break
done
script() { # by its newer name or its older one
    if [ -f "$share/mariadb_$1.sql" ]; then cat "$share/mariadb_$1.sql"; else cat "$share/mysql_$1.sql"; fi
}
rm -rf "$data.new"
mkdir "$data.new"
# In bootstrap mode each statement ends at a line's end.
{
    echo "CREATE DATABASE IF NOT EXISTS mysql;"
    echo "USE mysql;"
    echo "SET @auth_root_socket=NULL;"
    for name in system_tables performance_tables system_tables_data; do script "$name"; echo; done
    cat "$share/maria_add_gis_sp_bootstrap.sql"
    echo
    # What makes the tables makes accounts too; none of them is ours.
    echo "DELETE FROM global_priv WHERE user <> 'mariadb.sys';"
    echo "DELETE FROM proxies_priv;"
} >/var/lib/mysql/temporary/first.sql
mariadbd --no-defaults --bootstrap --skip-networking --datadir="$data.new" --tmpdir=/var/lib/mysql/temporary \
    --innodb-buffer-pool-size=16M --innodb-log-file-size=4M </var/lib/mysql/temporary/first.sql
rm /var/lib/mysql/temporary/first.sql
echo "$own" | cat >"$record"
# Whole or not there: this is the last step.
mv "$data.new" "$data"
sync
