"""A Hugging Face hub on this machine, with one model, that counts what is fetched from it."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = '0' * 40


@contextmanager
def hub(folder: Path, model: str) -> Iterator[tuple[str, Counter]]:
    """Serve ``folder`` as ``model``; give the endpoint, and how often each file's content was asked for."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob('*') if path.is_file()}
    fetched = Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def answer(self, content: bytes, kind: str = 'application/json', etag: str = '') -> None:
            self.send_response(200)
            headers = {'Content-Type': kind, 'Content-Length': len(content), 'X-Repo-Commit': COMMIT, 'ETag': etag}
            for name, value in headers.items():
                self.send_header(name, str(value))
            self.end_headers()
            if self.command == 'GET':
                self.wfile.write(content)

        def do_GET(self) -> None:
            path = self.path.partition('?')[0]
            if path.startswith(f'/{model}/resolve/'):
                name = path.removeprefix(f'/{model}/resolve/').partition('/')[2]
                if name not in files:
                    return self.send_error(404)
                if self.command == 'GET':
                    fetched[name] += 1
                    time.sleep(0.3)  # long enough for another process to ask, too
                return self.answer(files[name], 'application/octet-stream', _digest(files[name]))
            if path.startswith(f'/api/models/{model}/tree/'):
                entries = [
                    {'type': 'file', 'path': name, 'size': len(content), 'oid': _digest(content)}
                    for name, content in files.items()
                ]
                return self.answer(json.dumps(entries).encode())
            if path.startswith(f'/api/models/{model}'):
                siblings = [{'rfilename': name, 'size': len(content)} for name, content in files.items()]
                info = {'id': model, 'modelId': model, 'sha': COMMIT, 'siblings': siblings, 'tags': []}
                return self.answer(json.dumps(info).encode())
            return self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}', fetched
    finally:
        server.shutdown()
        server.server_close()


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
