"""pull_server.py FOLDER: serves files as good and bad servers do; prints its port, then what is asked of it.

/good/F    with ranges            /plain/F   without ranges        /cut/F    ends in the middle, once
/cuts/F    always ends early      /shorts/F  the same, without ranges
/moved/F   redirects to /good/F  /wrong/F  other bytes
/busy/F    503 twice, then good   anything else: 404"""
import http.server
import pathlib
import re
import sys

root, seen = pathlib.Path(sys.argv[1]), {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    def do_GET(self):
        kind, _, name = self.path.lstrip("/").partition("/")
        seen[self.path] = count = seen.get(self.path, 0) + 1
        asked = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        print(self.path, self.headers.get("Range", "-"), self.headers.get("User-Agent"), flush=True)
        path = root / name
        kinds = "good plain cut cuts shorts moved wrong busy".split()
        if kind not in kinds or not path.is_file():
            return self.answer(404, b"no such file")
        if kind == "moved":
            return self.answer(302, b"elsewhere", Location=f"/good/{name}")
        if kind == "busy" and count <= 2:
            return self.answer(503, b"later")
        body = path.read_bytes()
        if kind == "wrong":
            body = body[::-1]
        ranges = kind not in ("plain", "shorts")
        first = int(asked[1]) if asked and ranges else 0
        if first >= len(body) and asked and ranges:
            return self.answer(416, Content_Range=f"bytes */{len(body)}")
        rest, extra = body[first:], {}
        if first:
            extra["Content_Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        if kind in ("cuts", "shorts") or (kind == "cut" and count == 1):
            short = rest[:0] if kind == "cuts" and count > 1 else rest[:max(1, len(rest) // 2)]
            return self.answer(206 if first else 200, short, len(rest), **extra)
        return self.answer(206 if first else 200, rest, **extra)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
