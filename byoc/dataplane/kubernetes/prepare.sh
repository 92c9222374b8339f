#!/bin/sh
# Makes the system tables of a new volume, once. A volume that was in use is left alone, also an empty one.
set -eu
data=/var/lib/mysql/data
mkdir -p /var/lib/mysql/empty /var/lib/mysql/temporary
[ ! -d "$data" ] || exit 0
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
# Whole or not there: this is the last step.
mv "$data.new" "$data"
sync
