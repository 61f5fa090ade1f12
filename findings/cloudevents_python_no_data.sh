#!/usr/bin/env bash
# An event without data is no Kafka tombstone in either line of the CloudEvents SDK for Python.
#
# Versions: cloudevents 1.13.0 and 2.2.0 from PyPI (2026-11-29), Python 3.11.
# Expected: a null value in binary mode, which is what compaction takes for a deletion (and what the
#           SDK for Java, io.cloudevents:cloudevents-kafka 4.0.1, writes).
# Seen:     1.13.0 writes the four bytes `null`, 2.2.0 an empty value. Compacted topics keep the key.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

seen() { # version, program
  python3 -m venv "$folder/$1"
  "$folder/$1/bin/pip" install --quiet --disable-pip-version-check "cloudevents==$1"
  "$folder/$1/bin/python" -c "$2"
}

one=$(seen 1.13.0 '
from cloudevents.http import CloudEvent
from cloudevents.kafka import to_binary
about = {"type": "user.deleted", "source": "/crm", "datacontenttype": "application/json"}
print(repr(to_binary(CloudEvent(about, None)).value))')
two=$(seen 2.2.0 '
from cloudevents.core.bindings.kafka import to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
about = {"specversion": "1.0", "id": "1", "type": "user.deleted", "source": "/crm"}
about["datacontenttype"] = "application/json"
print(repr(to_binary(CloudEvent(about, None), JSONFormat()).value))')

echo "cloudevents 1.13.0: $one"
echo "cloudevents 2.2.0:  $two"
[ "$one" = "b'null'" ] && [ "$two" = "b''" ] || { echo "this has changed" >&2; exit 1; }
