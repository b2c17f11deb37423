"""A consumer: dubbo-py's client. Orders and answers as node/sofa.js has them; one call at a time, and two
more: {"one_way": true} beside a method, and {"heartbeat": true}."""

from __future__ import annotations

import json
import sys
from typing import Any

from dubbo.client import DubboClient
from dubbo.codec import hessian2


def call(client: DubboClient, one: dict[str, Any]) -> dict[str, Any]:
    if one.get("heartbeat"):
        client.send_heartbeat_request(next(client._request_id))
        return {"value": "sent"}
    what = {
        "service_name": "com.acme.Orders",
        "service_version": "1.0.0",
        "method_name": one["method"],
        "args": one["args"],
        "attachment": {"path": "com.acme.Orders", **one.get("attachments", {})},
    }
    if one.get("one_way"):
        client.send_request_without_response(**what)
        return {"value": "sent"}
    reply = client.send_request_and_return_response(**what)
    if reply.ok:
        data = reply.data
        if hasattr(data, "_fields"):  # a Java exception comes as an object
            return {"error": str(getattr(data, "detailMessage", data))}
        return {"value": data}
    return {"error": reply.error}


def main() -> None:
    hessian2.long = hessian2.double = type("Nothing", (), {})  # names that its encoder forgot to define
    DubboClient._timeout = 20
    orders = json.loads(sys.stdin.readline())
    client = DubboClient("127.0.0.1", orders["port"])
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps([call(client, one) for one in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main()
