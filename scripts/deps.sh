#!/bin/sh
# SPDX-License-Identifier: MIT
# scripts/deps.sh - install what is missing, from Debian's own archive, and say what
# Usage: deps.sh build|run|test|bench. Services that come with a package are not started by the installation.
set -eu

build="gcc make libc6-dev linux-libc-dev liburing-dev libnuma-dev libhwloc-dev libseccomp-dev
       libcap-ng-dev clang libbpf-dev libmnl-dev libjansson-dev libconfuse-dev libpcap0.8-dev
       dwarves"
run="nginx-light curl iproute2 python3 util-linux procps"
tests="libcriterion-dev redis-server redis-tools wrk iperf3 binutils memcached haproxy apache2-bin
       apache2-utils lighttpd postgresql nodejs socat sockperf openssl ethtool
       libpython3.11-testsuite vsftpd bind9 bind9-dnsutils unbound hostname
       tshark libwiretap-dev libwsutil-dev libglib2.0-dev"
case "${1:-}" in
build) want="$build" ;;
run) want="$build $run" ;;
test) want="$build $run $tests" ;;
bench) want="$build $run $tests python3-matplotlib linux-perf libdpdk-dev dpdk-dev pkg-config" ;;
*) echo "usage: deps.sh build|run|test|bench" >&2; exit 2 ;;
esac

missing=""
for p in $want; do
	dpkg-query -W -f='${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed$' ||
		missing="$missing $p"
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || { echo "deps: missing:$missing (no apt-get here: install them)" >&2; exit 1; }
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
echo "deps: installing$missing"

# Keep the packages' services from starting: the invoke-rc.d policy says no while we install.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
	$sudo chmod 755 $policy
	trap '$sudo rm -f $policy' EXIT
	trap 'exit 130' INT TERM
fi
log=$(mktemp)
install() {
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >"$log" 2>&1
}
install || { $sudo apt-get update >/dev/null 2>&1; install; } || { cat "$log" >&2; exit 1; }
rm -f "$log"
