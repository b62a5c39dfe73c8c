# Does what its standard input says, with boto3, until that is closed. The first line
# is {url, ca}, or {url}; each one after it {id, operation, input}, and all are under
# way at once. Answers: {version}, {id, output}, {id, event} for each event of a
# subscription, {id, error}.
import base64
import datetime
import json
import os
import platform
import sys
import threading

import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import ClientError

turn = threading.Lock()


def to_wire(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    raise TypeError(type(value))


def from_wire(members):
    if "Data" in members:
        members["Data"] = base64.b64decode(members["Data"])
    return members


def say(**answer):
    with turn:
        print(json.dumps(answer, default=to_wire), flush=True)


def as_error(error):
    answer = {"code": type(error).__name__, "type": type(error).__name__, "message": str(error)}
    if isinstance(error, ClientError):
        metadata = error.response.get("ResponseMetadata", {})
        answer.update(
            code=error.response["Error"]["Code"], message=error.response["Error"]["Message"],
            status=metadata.get("HTTPStatusCode"), request=metadata.get("RequestId"),
        )
    return answer


def perform(client, id, operation, input):
    try:
        output = getattr(client, botocore.xform_name(operation))(**input)
        output.pop("ResponseMetadata")
        events = output.pop("EventStream", None)
        say(id=id, output=output)
        if events is None:
            return
        for event in events:
            if "SubscribeToShardEvent" in event:
                say(id=id, event=event["SubscribeToShardEvent"])
        say(id=id, end=True)
    except Exception as error:
        say(id=id, error=as_error(error))


start = json.loads(sys.stdin.readline())
client = boto3.client(
    "kinesis", region_name="us-east-1", endpoint_url=start["url"], verify=start.get("ca"),
    aws_access_key_id=start["key"], aws_secret_access_key=start["secret"],
    config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32),
)
say(version=f"boto3 {boto3.__version__}, Python {platform.python_version()}")
for line in sys.stdin:
    threading.Thread(target=perform, args=(client,), kwargs=json.loads(line, object_hook=from_wire), daemon=True).start()
os._exit(0)  # and not when the last subscription ends
