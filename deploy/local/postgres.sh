#!/usr/bin/env bash
# Makes sure that a PostgreSQL server is on this machine: `make demo`, `nthlayer dev` and the tests run a private one.
# What pkg/pgserver finds is left as it is. Otherwise it is installed:
#   as root, or where sudo asks for no password   with apt-get, without the cluster that Debian would start
#   as anybody else                               unpacked from the distribution's packages into the cache, nothing else touched
set -Eeuo pipefail

cache="${XDG_CACHE_HOME:-$HOME/.cache}/nthlayer/postgres"

has_server() { [[ -x $1/initdb && -x $1/postgres ]]; }

# The same places as in pkg/pgserver/binaries.go.
find_server() {
	local dir on_path
	if [[ -n ${NTHLAYER_POSTGRES_BIN:-} ]]; then
		has_server "$NTHLAYER_POSTGRES_BIN" && echo "$NTHLAYER_POSTGRES_BIN"
		return
	fi
	if on_path=$(command -v initdb); then
		dir=$(dirname "$(readlink -f "$on_path")")
		has_server "$dir" && echo "$dir" && return
	fi
	for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin "$cache"/usr/lib/postgresql/*/bin; do
		has_server "$dir" && echo "$dir" && return
	done
	return 1
}

fail() {
	echo "PostgreSQL: $*" >&2
	echo "Install a PostgreSQL server (15 or newer) in your system's way and try again:" >&2
	echo "  Debian, Ubuntu: sudo apt-get install postgresql    Fedora: sudo dnf install postgresql-server" >&2
	echo "  macOS: brew install postgresql@17" >&2
	echo "or set NTHLAYER_POSTGRES_BIN to the directory that holds initdb and postgres." >&2
	exit 1
}

# install_with_apt [sudo -n]
install_with_apt() {
	local config=/etc/postgresql-common/createcluster.d/nthlayer.conf
	echo "PostgreSQL: installing the distribution's server with apt-get"
	"$@" mkdir -p "$(dirname "$config")"
	echo "create_main_cluster = false" | "$@" tee "$config" >/dev/null
	"$@" apt-get update -qq
	"$@" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
	"$@" rm -f "$config" # the machine's owner gets Debian's default back
}

# The packages come into a directory of our own, also apt's lists: the system's may be absent, and only root may renew
# them. Hooks after an update (container images clean up there) are for root as well.
unpack_into_cache() {
	local packages package
	echo "PostgreSQL: unpacking the distribution's server into $cache"
	rm -rf "$cache"
	mkdir -p "$cache"/apt/{lists,cache/archives}/partial
	cat >"$cache/apt/apt.conf" <<-END
		Dir::State::Lists "$cache/apt/lists";
		Dir::Cache "$cache/apt/cache";
		Debug::NoLocking "true";
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
	END
	cd "$cache/apt"
	apt-get -c apt.conf update -qq
	# Everything the server needs and the machine lacks, but for the just-in-time compiler, which it loads only if present,
	# and the programs around the server.
	packages=$(apt-get -c apt.conf install --simulate --no-install-recommends postgresql |
		awk '$1 == "Inst" && $2 ~ /^(postgresql-[0-9]+|lib.*)$/ && $2 !~ /llvm|perl|^libjson/ { print $2 }')
	# shellcheck disable=SC2086 # one word a package
	apt-get -c apt.conf download -qq $packages
	for package in *.deb; do
		dpkg-deb -x "$package" "$cache"
	done
	cd - >/dev/null
	rm -rf "$cache/apt"
}

if server=$(find_server); then
	echo "PostgreSQL: $server"
	exit 0
fi
[[ -z ${NTHLAYER_POSTGRES_BIN:-} ]] || fail "no initdb and postgres in NTHLAYER_POSTGRES_BIN=$NTHLAYER_POSTGRES_BIN"
command -v apt-get >/dev/null || fail "no server found, and only apt-get is known to this script"

trap 'fail "the installation did not work; what went wrong stands above"' ERR
if [[ $(id -u) == 0 ]]; then
	install_with_apt
elif sudo -n true 2>/dev/null; then
	install_with_apt sudo -n
else
	command -v dpkg-deb >/dev/null || fail "no server found, and no dpkg-deb to unpack one"
	unpack_into_cache
fi
server=$(find_server) || fail "installed, but not found"
echo "PostgreSQL: $server"
