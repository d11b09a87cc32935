#!/usr/bin/env bash
# Fetches Keycloak from Maven Central into .tools/, prepares it for quick starts, builds
# deploy/examples/spring with a Maven from there, and prints what the tests beside both
# look for in the environment:
#
#   eval "$(scripts/install-keycloak.sh)"
#
# Needs curl and a JDK of a version that Keycloak supports: that of JAVA_HOME, else the
# one whose java is in PATH, else one below /usr/lib/jvm.
set -euo pipefail
cd "$(dirname "$0")/.."

version=26.7.3
sha256=27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f
supported='17 21 25'

maven_version=3.9.16
maven_sha256=5af3b743dd8b876b5c45da33b676251e5f1687712644abb4ee519ca56e1d89ce

die() {
  echo "install-keycloak: $*" >&2
  exit 1
}

# --- a JDK ------------------------------------------------------------------------

# The feature release of the JDK in a directory; nothing if there is none in it. The
# compiler is asked, since a run-time environment alone has no jar to unpack with.
release() {
  [[ -x $1/bin/java && -x $1/bin/jar && -x $1/bin/javac ]] || return 0
  "$1/bin/javac" -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p'
}

candidates=("${JAVA_HOME:-}")
if java=$(command -v java); then
  java=$(readlink -f "$java")
  candidates+=("${java%/bin/java}")
fi
for dir in /usr/lib/jvm/*/ /Library/Java/JavaVirtualMachines/*/Contents/Home/; do
  candidates+=("${dir%/}")
done

jdk='' seen=''
for dir in "${candidates[@]}"; do
  [[ -n $dir ]] || continue
  found=$(release "$dir")
  [[ -n $found ]] || continue
  if [[ " $supported " == *" $found "* ]]; then
    jdk=$dir
    break
  fi
  seen+=" $dir is $found;"
done
[[ -n $jdk ]] || die "no JDK of version ${supported// /, } found; set JAVA_HOME.${seen}"

# --- fetching ---------------------------------------------------------------------

central=https://repo1.maven.org/maven2
if command -v sha256sum >/dev/null; then sum=(sha256sum); else sum=(shasum -a 256); fi

# fetch PATH SHA256 DIR unpacks an archive of Maven Central's, without the directory
# that everything in it is below, into a directory that is not there yet.
fetch() {
  command -v curl >/dev/null || die "curl is missing"
  rm -rf "$3"
  mkdir -p "$3"
  echo "fetching $central/$1" >&2
  curl -fSs --retry 3 -o "$3/archive.zip" "$central/$1"
  [[ $("${sum[@]}" <"$3/archive.zip" | cut -d' ' -f1) == "$2" ]] || die "$central/$1 is not what it was: its SHA-256 differs"
  (cd "$3" && "$jdk/bin/jar" xf archive.zip && rm archive.zip && inner=$(echo */) && mv "$inner"* . && rmdir "$inner")
}

# --- Keycloak ---------------------------------------------------------------------

dir=$PWD/.tools/keycloak@$version
if [[ ! -e $dir/.ready ]]; then
  fetch "org/keycloak/keycloak-quarkus-dist/$version/keycloak-quarkus-dist-$version.zip" "$sha256" "$dir"
  # What Keycloak would otherwise do at every start.
  JAVA_HOME=$jdk sh "$dir/bin/kc.sh" build --db=dev-file >&2
  touch "$dir/.ready"
fi

# --- the API that uses Spring Security ----------------------------------------------

maven=$PWD/.tools/maven@$maven_version
if [[ ! -e $maven/.ready ]]; then
  fetch "org/apache/maven/apache-maven/$maven_version/apache-maven-$maven_version-bin.zip" "$maven_sha256" "$maven"
  touch "$maven/.ready"
fi
JAVA_HOME=$jdk sh "$maven/bin/mvn" -q -B -f deploy/examples/spring/pom.xml -Dmaven.repo.local="$PWD/.tools/maven-repository" package >&2

printf 'export REVOCAST_KEYCLOAK=%q REVOCAST_SPRING=%q JAVA_HOME=%q\n' "$dir" "$PWD/deploy/examples/spring/target/orders.jar" "$jdk"
