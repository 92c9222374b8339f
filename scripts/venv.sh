# Sourced by the scripts beside it: finds a Python, keeps .venv in step with a lock file.
# Says what it does on stderr only, because stdout belongs to the command that follows.
# Needs $root, the folder of the clone.
venv=$root/.venv

die() { # die MESSAGE HINT
    printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
    exit 9
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() { # prints the command of the first fitting Python, nothing if there is none
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || die "\$PYTHON is $PYTHON, which is not Python 3.11 or newer" "unset PYTHON"
        command -v "$PYTHON"
        return
    fi
    for python in python3.14 python3.13 python3.12 python3.11 python3; do
        if new_enough "$python"; then command -v "$python"; return; fi
    done
}

make_venv() {
    rm -rf "$venv"
    python=$(find_python)
    if [ -n "$python" ]; then
        echo "making .venv with $python" >&2
        if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            "$python" -m venv "$venv" >&2
        elif command -v uv >/dev/null; then
            uv venv --quiet --seed --python "$python" "$venv" >&2
        else
            make_venv_without_ensurepip "$python"
        fi
    elif command -v uv >/dev/null; then
        uv venv --quiet --seed --python '>=3.11' "$venv" >&2
    else
        die "no Python 3.11 or newer on this machine" "$(python_line)"
    fi
}

python_line() { # what to run on this system to get a Python
    if command -v apt-get >/dev/null; then echo "sudo apt-get install -y python3 python3-venv"
    elif command -v dnf >/dev/null; then echo "sudo dnf install -y python3"
    elif command -v brew >/dev/null; then echo "brew install python3"
    else echo "install Python 3.11 or newer, or uv, and run this again"; fi
}

# Debian and Ubuntu cut ensurepip out of Python into python3-venv. Root installs that package; others
# unpack pip's own Debian package into the venv, from package lists of their own.
make_venv_without_ensurepip() {
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    command -v apt-get >/dev/null || die "$1 comes without ensurepip" "$(python_line)"
    if [ "$(id -u)" = 0 ]; then
        apt_get update
        apt_get install -y --no-install-recommends "python$version-venv" || apt_get install -y python3-venv
        "$1" -m venv "$venv" >&2
        return
    fi
    "$1" -m venv --without-pip "$venv" >&2
    unpack_pip || { rm -rf "$venv"; die "$1 comes without ensurepip" "sudo apt-get install -y python3-venv"; }
}

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2; }

unpack_debs() { # unpack_debs FOLDER PACKAGE...: into FOLDER/unpacked
    apt=$1; shift
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" || return 1
    (
        cd "$apt" || exit 1
        apt_get download "$@" 2>/dev/null || {
            own="-o Dir::State::Lists=$apt/lists -o Dir::Cache=$apt -o Debug::NoLocking=1"
            apt_get $own update && apt_get $own download "$@"
        }
    ) || return 1
    for archive in "$apt"/*.deb; do dpkg-deb -x "$archive" "$apt/unpacked" || return 1; done
}

unpack_pip() {
    apt=$venv/apt
    unpack_debs "$apt" python3-pip-whl || return 1
    wheel=$(echo "$apt"/unpacked/usr/share/python-wheels/pip-*.whl)
    "$venv/bin/python" "$wheel/pip" install --quiet --no-index "$wheel" >&2 || return 1
    rm -rf "$apt"
}

# prepare LOCK: .venv holds exactly what LOCK names, and the clone itself. A stamp says for which
# lock, place and Python that was done last, so that doing it again costs nothing.
prepare() {
    [ -x "$venv/bin/python" ] && new_enough "$venv/bin/python" || make_venv
    stamp=$venv/.stamp-$1
    want="$(cat "$root/$1" "$root/pyproject.toml" | cksum) $root $("$venv/bin/python" -V)"
    [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
    echo "installing $1 into .venv" >&2
    rm -f "$stamp"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --require-hashes -r "$root/$1" >&2 </dev/null
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
        --no-build-isolation -e "$root" >&2 </dev/null
    echo "$want" > "$stamp"
}

# The SQL engine of local workspaces; got once, found afterwards.
engine() {
    "$venv/bin/byoc" engine show >/dev/null 2>&1 || "$venv/bin/byoc" engine install >&2 </dev/null
}

# A MariaDB client, for the tests of `workspace connect`: the machine's own, else Debian's; without root
# that one is unpacked into the cache and put at the end of the PATH.
sql_client() {
    command -v mariadb >/dev/null && command -v mariadb-check >/dev/null && return
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/byoc/client
    if [ ! -x "$cache/bin/mariadb-check" ]; then
        echo "getting a MariaDB client" >&2
        get_sql_client || die "no MariaDB client on this machine" "$(client_line)"
    fi
    PATH=$PATH:$cache/bin; export PATH
}

get_sql_client() {
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" = 0 ]; then
        apt_get update
        apt_get install -y --no-install-recommends mariadb-client-core ||
            apt_get install -y --no-install-recommends mariadb-client-core-10.6
        return
    fi
    rm -rf "$cache"
    libraries="libmariadb3 libedit2 libncurses6 libtinfo6 libbsd0 libmd0"
    unpack_debs "$cache" mariadb-client-core $libraries ||
        unpack_debs "$cache" mariadb-client-core-10.6 $libraries || return 1
    mkdir -p "$cache/bin"
    for program in mariadb mariadb-check; do
        {
            echo '#!/bin/sh'
            echo "LD_LIBRARY_PATH=$(echo "$cache"/unpacked/usr/lib/*-linux-gnu*):$(echo "$cache"/unpacked/lib/*-linux-gnu*)"
            echo "export LD_LIBRARY_PATH; exec $cache/unpacked/usr/bin/$program \"\$@\""
        } >"$cache/bin/$program"
        chmod +x "$cache/bin/$program"
    done
    rm -rf "$cache"/*.deb "$cache/lists" "$cache/archives"
    "$cache/bin/mariadb" --version >/dev/null || { rm -rf "$cache"; return 1; }
}

client_line() { # what to run on this system to get a MariaDB client
    if command -v apt-get >/dev/null; then echo "sudo apt-get install -y mariadb-client"
    elif command -v dnf >/dev/null; then echo "sudo dnf install -y mariadb"
    else echo "brew install mariadb"; fi
}
