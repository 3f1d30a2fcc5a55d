"""Does what cannot be done in a sandbox, and says how it was refused."""

import concurrent.futures
import json
import multiprocessing
import os
import socket
import subprocess
import threading
import urllib.request


def init():
    pass


def pool():
    with concurrent.futures.ThreadPoolExecutor() as executor:
        return list(executor.map(str, range(3)))


ACTIONS = {
    "socket": lambda: socket.create_connection(("127.0.0.1", 22)),
    "listen": lambda: socket.socket().bind(("127.0.0.1", 0)),
    "resolve": lambda: socket.getaddrinfo("localhost", 80),
    "url": lambda: urllib.request.urlopen("http://127.0.0.1/"),
    "subprocess": lambda: subprocess.run(["ls"]),
    "system": lambda: os.system("ls"),
    "process": lambda: multiprocessing.Process(target=print).start(),
    "process pool": lambda: multiprocessing.Pool(2),
    "fork": lambda: os.fork(),
    "thread": lambda: threading.Thread(target=print).start(),
    "thread pool": pool,
}


def run(raw_data):
    action = json.loads(raw_data)["action"]
    try:
        return {"done": repr(ACTIONS[action]())}
    except Exception as error:
        return {"type": type(error).__name__, "text": str(error)}
