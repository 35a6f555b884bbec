#!/usr/bin/env bash
# kafka.sh install                                    Kafka's jars into $KAFKA_DIR
# kafka.sh run DIR PORT... [setting=value...]         one broker in the foreground, its state in DIR; says "Kafka Server started"
#
# Five ports on 127.0.0.1: PLAINTEXT, its own controller, SSL, SASL_PLAINTEXT, SASL_SSL. A broker that is started again in
# DIR has its records. SASL: SCRAM-SHA-256 and -512, user alice, password alice-secret; on SASL_PLAINTEXT also OAUTHBEARER
# with unsigned tokens. TLS: the certificate is DIR/ca.pem, for localhost and 127.0.0.1.
# Environment: KAFKA_DIR (jars), HEAP (256m). The broker runs in place of this script, so whoever started the script stops
# it by its process id; nothing is left in the background.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lib=${KAFKA_DIR:?the folder for the jars}
usage() { sed -n '2,3s/^# //p' "$here/kafka.sh" >&2; exit 2; }

install() {
  local sum
  sum=$(cksum <"$here/kafka.xml")
  [ "$(cat "$lib/installed" 2>/dev/null)" = "$sum" ] && return
  rm -rf "$lib"
  mkdir -p "$lib"
  mvn -q -B -ntp -f "$here/kafka.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies -DoutputDirectory="$lib/jars" >"$lib/install.log" 2>&1 ||
    { tail -n 20 "$lib/install.log" >&2; exit 1; }
  echo "$sum" >"$lib/installed"
}

certificate() { # one key for the broker, and the certificate that clients hold it against
  keytool -genkeypair -alias broker -keyalg RSA -keysize 2048 -validity 3650 -dname CN=localhost \
    -ext SAN=dns:localhost,ip:127.0.0.1 -storetype PKCS12 -keystore "$1/server.p12" -storepass changeit >"$1/keytool.log" 2>&1
  keytool -exportcert -rfc -alias broker -keystore "$1/server.p12" -storepass changeit -file "$1/ca.pem" >>"$1/keytool.log" 2>&1
}

settings() { # DIR PLAINTEXT CONTROLLER SSL SASL_PLAINTEXT SASL_SSL
  local at=127.0.0.1 module=org.apache.kafka.common.security listener
  printf '%s\n' process.roles=broker,controller node.id=1 controller.listener.names=CONTROLLER \
    "controller.quorum.voters=1@$at:$3" \
    "listeners=PLAINTEXT://$at:$2,CONTROLLER://$at:$3,SSL://$at:$4,SASL_PLAINTEXT://$at:$5,SASL_SSL://$at:$6" \
    listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL \
    "log.dirs=$1/data" offsets.topic.replication.factor=1 offsets.topic.num.partitions=1 \
    transaction.state.log.replication.factor=1 transaction.state.log.min.isr=1 transaction.state.log.num.partitions=1 \
    share.coordinator.state.topic.replication.factor=1 share.coordinator.state.topic.min.isr=1 group.initial.rebalance.delay.ms=0 \
    broker.session.timeout.ms=3000 broker.heartbeat.interval.ms=500 log.cleaner.dedupe.buffer.size=4194304 \
    sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512 ssl.keystore.type=PKCS12 "ssl.keystore.location=$1/server.p12" \
    ssl.keystore.password=changeit \
    listener.name.sasl_plaintext.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER \
    "listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=$module.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
  for listener in sasl_plaintext sasl_ssl; do
    printf "listener.name.$listener.scram-sha-%s.sasl.jaas.config=$module.scram.ScramLoginModule required;\n" 256 512
  done
}

run() {
  [ $# -ge 6 ] || usage
  local dir=$1 setting overrides=()
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  [ -f "$dir/ca.pem" ] || certificate "$dir"
  settings "$dir" "${@:2:5}" >"$dir/server.properties"
  for setting in "${@:7}"; do overrides+=(--override "$setting"); done
  for setting in "${@:7}"; do echo "$setting" >>"$dir/server.properties"; done
  if [ ! -f "$dir/formatted" ]; then
    java -Xmx128m -cp "$lib/jars/*" kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$dir/server.properties" \
      --add-scram 'SCRAM-SHA-256=[name=alice,password=alice-secret]' \
      --add-scram 'SCRAM-SHA-512=[name=alice,password=alice-secret]' >"$dir/format.log" 2>&1 ||
      { tail -n 5 "$dir/format.log" >&2; exit 1; }
    touch "$dir/formatted"
  fi
  exec java "-Xms${HEAP:-256m}" "-Xmx${HEAP:-256m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.level=INFO \
    -cp "$lib/jars/*" kafka.Kafka "$dir/server.properties" "${overrides[@]}"
}

case ${1:-} in
  install) install ;;
  run) shift; run "$@" ;;
  *) usage ;;
esac
