"""`make serve`: run the whole system until Ctrl-C, and print each request and each call of Voucherify."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading
from contextlib import ExitStack
from urllib.parse import urlsplit

from rich.console import Console

from cli.local_system import LocalSystem as Announced
from cli.local_system import announced
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
    """Return a command that posts an identify with a valid signature."""
    body = json.dumps(_EXAMPLE)
    headers = ("Content-Type: application/json", f"X-Signature: {sign(body.encode())}")
    return " ".join(["curl", "-i", f"{url}/events", *(f"-H '{header}'" for header in headers), "-d", shlex.quote(body)])


def introduce(system: LocalSystem, console: Console) -> None:
    """Print what runs where, how to try it and how to stop it."""
    voucherify = "the real one, through" if system.is_real else "a stub at"
    console.print("The destination runs on this machine. Stop it with Ctrl-C.\n", style="green bold")
    console.print(f"  Events      POST {system.url}/events, shared secret {SHARED_SECRET}")
    console.print(f"  Libraries   Segment's: host {system.url}, write key {ACCESS_TOKEN}")
    console.print(f"  Voucherify  {voucherify} {system.voucherify.url}")
    console.print(f"  AWS         moto: AWS_ENDPOINT_URL={system.aws.url}")
    console.print(f"              settings in SSM under {SETTINGS_PATH}")
    console.print("\nTry it in another terminal:\n")
    console.print(curl(system.url))
    console.print("\nRequests and calls appear below.\n")


def show_call(call: Call, console: Console) -> None:
    status = str(call.status or "no answer")
    line = f"  → Voucherify  {call.method} {call.path}  {status}  {json.dumps(call.json, ensure_ascii=False)}"
    console.print(line, style="cyan" if call.status and call.status < 300 else "red")


def show_exchange(exchange: Exchange, console: Console) -> None:
    request = exchange.event["requestContext"]["http"]
    status, body = exchange.answer["statusCode"], exchange.answer["body"]
    line = f"{request['method']} {request['path']}  {status}  {exchange.seconds * 1000:.0f} ms  {body}"
    console.print(line, style="green" if status < 300 else "red")


def main(arguments: list[str]) -> int:
    """Return 0 after Ctrl-C, 1 if a port is taken."""
    parser = argparse.ArgumentParser(prog="make serve", description=__doc__)
    parser.add_argument(
        "--port",
        type=int,
        default=8080,
        help="port of the HTTP server; AWS and Voucherify use the next two. 0 chooses three free ports",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; 0.0.0.0 lets containers in, and everybody who can reach this machine",
    )
    host, port = (options := parser.parse_args(arguments)).host, options.port
    os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "WARNING")  # each request is printed anyway
    os.environ.setdefault("POWERTOOLS_METRICS_DISABLED", "true")
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        with ExitStack() as running:
            ports = Ports(front=port, aws=port + 1, voucherify=port + 2, host=host) if port else Ports(host=host)
            system = running.enter_context(
                local_system(
                    ports,
                    on_exchange=lambda exchange: show_exchange(exchange, console),
                    on_call=lambda call: show_call(call, console),
                )
            )
            if host != "127.0.0.1":
                # The name under which a container reaches this machine in README.md.
                voucherify_port = urlsplit(system.voucherify.url).port
                system.aws.put_settings({"apiUrl": f"http://localhost:{voucherify_port}"})
            # A handler that raised KeyboardInterrupt could do so in a finalizer, where it is lost.
            stopping = threading.Event()
            signal.signal(signal.SIGINT, lambda *_: stopping.set())
            introduce(system, console)
            running.enter_context(announced(Announced(system.url, system.aws.url)))
            while not stopping.is_set():  # the retry worker takes messages as they become visible
                if not poll_once(system.aws):
                    stopping.wait(1)
    except PortTaken as taken:
        console.print(f"Cannot start: {taken}. Choose another: make serve PORT={port + 100}", style="red")
        console.print("Three ports from there must be free. PORT=0 chooses free ones.", style="red")
        return 1
    except KeyboardInterrupt:  # during the start
        pass
    console.print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
