#!/usr/bin/env bash
# schemas.sh install          the published definitions of Strimzi's topic and user into $SCHEMAS_DIR, one YAML file each
#
# They are written by Strimzi's own program out of its own API, both from Maven Central and held by their checksums; the last
# version of the program that is published there is older than the API.
set -euo pipefail
to=${SCHEMAS_DIR:?the folder for the schemas}
api=0.47.0 program=0.45.0
sums="c427ed450607d16599ae61ab8f6603948d2a0b0fedd5791da8ecd57c55446828  api-$api.jar
f03aab1b83d29bbd340ce484a4bb651faac7685c685865a30351a636da6008ea  crd-generator-$program.jar"

install() {
  local artifact model=io.strimzi.api.kafka.model
  [ "$(cat "$to/installed" 2>/dev/null)" = "$sums" ] && return
  rm -rf "$to"
  mkdir -p "$to/jars"
  for artifact in "api:$api" "crd-generator:$program"; do
    mvn -q -B -ntp org.apache.maven.plugins:maven-dependency-plugin:2.8:copy \
      -Dartifact="io.strimzi:$artifact" -DoutputDirectory="$to/jars" >"$to/install.log" 2>&1 ||
      { tail -n 20 "$to/install.log" >&2; exit 1; }
  done
  (cd "$to/jars" && sha256sum --quiet --check <<<"$sums")
  java -cp "$to/jars/*" io.strimzi.crdgenerator.CrdGenerator --target-kube 1.25+ --crd-api-version v1 --yaml \
    "$model.topic.KafkaTopic=$to/KafkaTopic.yaml" "$model.user.KafkaUser=$to/KafkaUser.yaml" >"$to/install.log" 2>&1 ||
    { tail -n 20 "$to/install.log" >&2; exit 1; }
  echo "$sums" >"$to/installed"
}

case ${1:-} in
  install) install ;;
  *) sed -n '2s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
