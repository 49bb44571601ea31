"""`make serve`: the whole system, kept running; each request is shown as it comes."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from local.stack.aws import SETTINGS_PATH
from local.stack.front import Exchange
from local.stack.poller import poll_once
from local.stack.samples import ACCESS_TOKEN, SHARED_SECRET, sign
from local.stack.system import LocalSystem, Ports, PortTaken, local_system
from local.voucherify_stub.stub import Call

_EXAMPLE = {
    "type": "identify",
    "messageId": "hello-1",
    "userId": "cust_9032_re_3234",
    "traits": {"firstName": "John", "email": "john.doe@example.com"},
}


def curl(url: str) -> str:
    """A command that posts an identify with a valid signature."""
    body = json.dumps(_EXAMPLE)
    return " ".join(
        [
            f"curl -i {url}/events",
            "-H 'Content-Type: application/json'",
            f"-H 'X-Signature: {sign(body.encode())}'",
            f"-d {shlex.quote(body)}",
        ]
    )


def introduce(system: LocalSystem, console: Console) -> None:
    voucherify = "the real Voucherify, by way of" if system.is_real else "a stub for Voucherify at"
    console.print(Text("The destination is running.", "green bold"))
    console.print(f"  events      POST {system.url}/events, signed with the shared secret {SHARED_SECRET!r}")
    console.print(
        f"  libraries   of Segment: host {system.url}, write key {ACCESS_TOKEN!r}; the source app, every call on"
    )
    console.print(f"  Voucherify  {voucherify} {system.voucherify.url}")
    console.print(f"  AWS         AWS_ENDPOINT_URL={system.aws.url} (moto; settings under {SETTINGS_PATH})")
    console.print("\nTry it from another terminal:\n")
    console.print(curl(system.url), soft_wrap=True, highlight=False, markup=False)
    console.print("\nEach request is shown below. Ctrl-C ends it.\n")


def show_call(call: Call, console: Console) -> None:
    status = str(call.status or "no answer")
    line = f"  → Voucherify  {call.method} {call.path}  {status}  {json.dumps(call.json, ensure_ascii=False)}"
    console.print(Text(line, "cyan" if call.status and call.status < 300 else "red"))


def show_exchange(exchange: Exchange, console: Console) -> None:
    request = exchange.event["requestContext"]["http"]
    status = exchange.answer["statusCode"]
    line = (
        f"{request['method']} {request['path']}  {status}  {exchange.seconds * 1000:.0f} ms  {exchange.answer['body']}"
    )
    console.print(Text(line, "green" if status < 300 else "red"))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make serve", description=__doc__)
    parser.add_argument(
        "--port",
        type=int,
        default=8080,
        help="of the HTTP front; AWS and Voucherify take the next two. With 0 each takes a free one, and it is printed",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="to listen at; 0.0.0.0 lets containers in, and whoever reaches this machine"
    )
    host, port = (options := parser.parse_args(arguments)).host, options.port
    os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "WARNING")  # what is delivered is shown anyway
    os.environ.setdefault("POWERTOOLS_METRICS_DISABLED", "true")
    console = Console()
    try:
        with local_system(
            Ports(front=port, aws=port + 1, voucherify=port + 2, host=host) if port else Ports(host=host),
            on_exchange=lambda exchange: show_exchange(exchange, console),
            on_call=lambda call: show_call(call, console),
        ) as system:
            if host != "127.0.0.1":
                # By the name that README.md has a container find this machine by.
                voucherify_port = urlsplit(system.voucherify.url).port
                system.aws.put_settings({"apiUrl": f"http://localhost:{voucherify_port}"})
            # An exception may be raised where nobody sees it, such as in a finalizer.
            stopping = threading.Event()
            signal.signal(signal.SIGINT, lambda *_: stopping.set())
            introduce(system, console)
            while not stopping.is_set():  # what is stored in the retry queue is delivered as it becomes visible
                if not poll_once(system.aws):
                    stopping.wait(1)
    except PortTaken as taken:
        console.print(Text(f"Cannot start: {taken}. Choose three free ones: make serve PORT={port + 100}", "red"))
        return 1
    except KeyboardInterrupt:  # while it starts
        pass
    console.print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
