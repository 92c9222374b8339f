#!/bin/sh
# Brings data of an older series up to date where `prepare.sh` found such: the engine's own tool does it, before the
# engine serves. Cut short anywhere it is done again: the record says so until all of it is done.
set -eu
task=/run/mysqld/upgrade
socket=/run/mysqld/upgrade.sock
words=/tmp/mariadbd.log
record=/var/lib/mysql/series
previous=/var/lib/mysql/series.before # the record as it was before this series began, however often it began
[ -f "$task" ] || exit 0
read -r own from <"$task"
keep() { # keep FILE WORDS
    echo "$2" | cat >"$1.new" # `cat` says why it cannot write
    sync
    mv "$1.new" "$1"
    sync
}
server= tool=
end() { # the tool first, or it would report what its server says when it goes
    [ -z "$tool" ] || kill "$tool" 2>/dev/null || :
    [ -z "$server" ] || ! kill "$server" 2>/dev/null || wait "$server" || :
}
trap 'end; exit 143' TERM
before=$from
if [ -s "$record" ]; then before=$(cat "$record"); fi
case $before in
"$own "*) [ -s "$previous" ] || keep "$previous" "$from" ;;
*) keep "$previous" "$before" ;;
esac
keep "$record" "$own $from"
# Without accounts and without a network: nobody but this container reaches the socket, and nothing of a password or
# of an account is left in the data, whatever happens. The tool knows this way of running.
mariadbd --defaults-file=/etc/byoc/engine/my.cnf --defaults-group-suffix=.upgrade --socket="$socket" >"$words" 2>&1 &
server=$!
until mariadb --no-defaults --socket="$socket" --user=root --execute="DO 0" >/dev/null 2>&1; do
    if ! kill -0 "$server" 2>/dev/null; then
        tail -c 1500 "$words"
        # Its log is only read by the series that left it so, which has to be let in again.
        case $(cat "$words") in *"Upgrade after a crash is not supported"*) keep "$record" "$(cat "$previous")" ;; esac
        echo "MariaDB $own cannot open the data of $from" >&2
        exit 1
    fi
    sleep 0.1
done
mariadb-upgrade --no-defaults --socket="$socket" --user=root --tmpdir=/tmp &
tool=$!
wait "$tool" || { tool=; end; echo "data of MariaDB $from was not brought up to date for $own" >&2; exit 1; }
tool=
kill "$server"
wait "$server"
server=
keep "$record" "$own"
