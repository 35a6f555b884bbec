#!/usr/bin/env bash
# search.sh install                         OpenSearch's jars and the node's start class into $SEARCH_DIR
# search.sh run DIR [setting=value...]      one node in the foreground, its state in DIR; prints "NODE READY port=N"
#
# Environment: SEARCH_DIR (jars), HEAP (384m). The port is the system's choice. The node runs in place of this script, so
# whoever started the script stops the node by its process id; nothing is left in the background.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lib=${SEARCH_DIR:?the folder for the jars}
usage() { sed -n '2,3s/^# //p' "$here/search.sh" >&2; exit 2; }

install() {
  local sum
  sum=$(cat "$here/opensearch.xml" "$here/Node.java" | cksum)
  [ "$(cat "$lib/installed" 2>/dev/null)" = "$sum" ] && return
  rm -rf "$lib"
  mkdir -p "$lib/classes"
  mvn -q -B -ntp -f "$here/opensearch.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies -DoutputDirectory="$lib/jars" >"$lib/install.log" 2>&1 ||
    { tail -n 20 "$lib/install.log" >&2; exit 1; }
  javac -nowarn -Xlint:none --release 17 -d "$lib/classes" -cp "$lib/jars/*" "$here/Node.java"
  echo "$sum" >"$lib/installed"
}

run() {
  [ $# -ge 1 ] || usage
  local dir=$1
  shift
  mkdir -p "$dir/tmp"
  dir=$(cd "$dir" && pwd)
  exec java "-Xms${HEAP:-384m}" "-Xmx${HEAP:-384m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir="$dir/tmp" \
    -Dlog4j2.level=WARN -Dopensearch.distribution.type=tar -cp "$lib/classes:$lib/jars/*" Node \
    path.home="$dir" cluster.name=test node.name=node discovery.type=single-node network.host=127.0.0.1 \
    http.port=0 transport.port=0 cluster.routing.allocation.disk.threshold_enabled=false "$@"
}

case ${1:-} in
  install) install ;;
  run) shift; run "$@" ;;
  *) usage ;;
esac
