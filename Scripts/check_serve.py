"""check_serve.py PROGRAM [--seconds N] [--schemathesis COMMAND]: asks a running `trident serve` over HTTP, as
its clients do."""

import argparse
import base64
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlencode

SCENES = pathlib.Path("models/demo/scenes")
MODEL = "models/demo/demo.gguf"
PHOTO = SCENES / "images/farm.jpg"
WORDS = [line for line in (SCENES / "classes.txt").read_text().splitlines() if line]
FAST = "&refine=none&affinity=none"


def check(fact, text):
    if not fact:
        sys.exit(f"serve: FAILED: {text}")


class Server:
    """A server on a port of its own, ended with the block."""

    def __init__(self, program, *flags, quiet=True):
        self.process = subprocess.Popen(
            [program, "serve", "--model", MODEL, "--port", "0", *["--quiet"][: int(quiet)], *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        check(line.startswith("http://127.0.0.1:"), f"no address was printed: {line}{self.process.poll()}")
        self.port = int(line.strip().rstrip("/").rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def ask(self, method, target, body=None, timeout=120, **headers):
        """(status, headers, body); names of headers have _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, target, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def segment(self, query, photo=PHOTO, **headers):
        return self.ask(
            "POST",
            "/v1/segment?" + query,
            photo.read_bytes() if isinstance(photo, pathlib.Path) else photo,
            **{"Content_Type": "image/jpeg", **headers},
        )

    def metrics(self):
        text = self.ask("GET", "/metrics")[2].decode()
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def private(self):
        """RssAnon, bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.split("RssAnon:")[1].split()[0])

    def files(self):
        found = []
        for entry in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(os.readlink(entry))
        return found

    def stop(self, number=signal.SIGINT):
        start = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout=20)
        return code, time.monotonic() - start


def query(*classes, **fields):
    return urlencode([("class", one) for one in classes] + list(fields.items()))


def form(fields, photo=PHOTO, name="farm.jpg"):
    parts = [
        f'--B\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields
    ]
    parts.append(
        f'--B\r\nContent-Disposition: form-data; name="photo"; filename="{name}"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + photo.read_bytes()
        + b"\r\n--B--\r\n"
    )
    return b"".join(parts)


def formats(program, server):
    """What is answered is what the command writes."""
    with tempfile.TemporaryDirectory() as folder:
        names = {
            "labels": "labels.png",
            "overlay": "overlay.png",
            "confidence": "sure.png",
            "csv": "t.csv",
            "coco": "c.json",
            "instances": "i.json",
            "cvat": "v.xml",
        }
        flags = [f"--{'output' if key == 'labels' else key}={folder}/{name}" for key, name in names.items()]
        subprocess.run(
            [
                program,
                "segment",
                "--model",
                MODEL,
                "--no-cache",
                "--quiet",
                *flags,
                str(PHOTO),
                *[f"--class={word}" for word in WORDS],
            ],
            check=True,
            capture_output=True,
        )
        wanted = {
            key: pathlib.Path(folder, name).read_bytes().replace(str(PHOTO).encode(), b"farm.jpg")
            for key, name in names.items()
        }
    words = "\n".join(WORDS)
    for key, bytes_ in wanted.items():
        status, headers, body = server.ask(
            "POST",
            "/v1/segment",
            form([("classes", words), ("format", key)]),
            Content_Type="multipart/form-data; boundary=B",
        )
        check(status == 200, f"{key}: {status} {body[:200]}")
        check(body == bytes_, f"{key} differs from what `trident segment` writes")
        check("farm" in headers["Content-Disposition"], "the file has no name")
    status, _, body = server.ask(
        "POST",
        "/v1/segment",
        form([("classes", words), ("include", ",".join(names))]),
        Content_Type="multipart/form-data; boundary=B",
    )
    answer = json.loads(body)
    check(status == 200 and set(answer["files"]) == set(names), "include= does not bring every format")
    for key, bytes_ in wanted.items():
        check(base64.b64decode(answer["files"][key]["base64"]) == bytes_, f"{key} inside json differs")
    shares = sum(one["share"] for one in answer["classes"])
    check(abs(shares - 1) < 1e-6 and len(answer["classes"]) == len(WORDS), "shares are not one")
    here = [one for one in answer["classes"] if one["present"]]
    check(here and all(0 < one["confidence"] <= 1 and len(one["box"]) == 4 for one in here), "no confidence")
    print(f"serve: {len(names)} formats as files and inside json, the same bytes as trident segment writes")


def by_command(program, words, templates, path):
    """The label map that the command writes."""
    flags = ["--no-cache", "--quiet", "--refine", "none", "--affinity", "none", "--overwrite"]
    words = [f"--class={word}" for word in words]
    subprocess.run(
        [program, "segment", "--model", MODEL, *flags, "--templates", templates, *words, str(PHOTO),
         "--output", str(path)],
        check=True, capture_output=True,
    )
    return path.read_bytes()


def templates(program):
    """Sentences that words are placed in: the request's, or the server's; the bytes are the command's."""
    words = ["horse; pony :=0.9 a thing made of metal | a wheel", "grass; meadow", "sky", "house", "tree"]
    with tempfile.TemporaryDirectory() as folder:
        lines, labels = pathlib.Path(folder, "lines.txt"), pathlib.Path(folder, "labels.png")
        lines.write_text("a drawing of a {}.\nnothing but {}\n")
        own = str(lines)
        wanted = {name: by_command(program, words, name, labels) for name in ["all", "seven", "one", own]}
        check(len(set(wanted.values())) == 4, "templates change nothing")
        for usual in ["all", "one", own]:
            with Server(program, *([] if usual == "all" else ["--templates", usual])) as server:
                # Vectors that are kept for the next request are those of its templates.
                for name in ["seven", None, "all", None, "one", "seven"]:
                    fields = {"templates": name} if name else {}
                    status, _, body = server.segment(query(*words, format="labels", **fields) + FAST)
                    check(status == 200, f"templates {name}: {status} {body[:200]}")
                    check(body == wanted[name or usual], f"{usual}: templates {name} are not the command's")
                answer = json.loads(server.segment(query(*words, templates="seven") + FAST)[2])
                check(answer.get("templates") == "seven", f"the answer does not name its templates: {answer}")
                told = json.loads(server.ask("GET", "/v1/model")[2])["templates"]
                check(told == usual or (usual == own and told.startswith("file-")), f"/v1/model: {told}")
                for bad in [own, "/etc/passwd", "", "eight", "all,one"]:
                    status, _, body = server.segment(query(*words, templates=bad) + FAST)
                    text = json.loads(body)["error"]
                    check(status == 400 and "none of all, seven, one" in text, f"{bad}: {status} {text}")
        vocabulary = str(pathlib.Path(folder, "words.tvoc"))
        subprocess.run(
            [program, "text", "--model", MODEL, "--no-cache", "--quiet", "--class=horse", "--class=sky",
             "--output", vocabulary], check=True, capture_output=True,
        )
        with Server(program, "--vocabulary", vocabulary) as server:
            check(server.segment("format=labels" + FAST)[0] == 200, "a server's vocabulary is not taken")
            status, _, body = server.segment("format=labels&templates=all" + FAST)
            check(status == 400 and b"templates" in body, f"templates beside a vocabulary: {status} {body}")
            model = json.loads(server.ask("GET", "/v1/model")[2])
            check(model["templates"] is None, "templates can be chosen beside a vocabulary")
        for flags in [["--templates", "one", "--vocabulary", vocabulary], ["--templates", "/no/such"]]:
            run = subprocess.run([program, "serve", "--model", MODEL, *flags], capture_output=True, text=True)
            check(run.returncode == 2 and "templates" in run.stderr, f"{flags}: {run}")
    print("serve: templates of a request, of the server and of a file, the bytes of trident segment")


def addresses(server):
    for path, kind in [
        ("/", "text/html"),
        ("/healthz", "application/json"),
        ("/metrics", "text/plain"),
        ("/openapi.json", "application/json"),
        ("/v1/model", "application/json"),
    ]:
        status, headers, body = server.ask("GET", path)
        check(status == 200 and headers["Content-Type"].startswith(kind) and body, f"GET {path}: {status}")
        check(headers["X-Content-Type-Options"] == "nosniff", f"{path} can be guessed")
        status, headers, body = server.ask("HEAD", path)
        check(status == 200 and not body, f"HEAD {path}: {status}")
    check(
        "sha256-" in server.ask("GET", "/")[1]["Content-Security-Policy"], "the page's script has no digest"
    )
    description = json.loads(server.ask("GET", "/openapi.json")[2])
    check("/v1/segment" in description["paths"], "no description")


def refusals(server):
    ok = query("dog", format="labels") + FAST
    big = b"x" * (2 << 20)
    cases = [
        (404, "GET", "/nothing", None, {}),
        (404, "GET", "/../../etc/passwd", None, {}),
        (405, "GET", "/v1/segment", None, {}),
        (405, "DELETE", "/v1/model", None, {}),
        (400, "POST", "/v1/segment?class=%zz", b"x", {"Content_Type": "image/png"}),
        (400, "POST", "/v1/segment", PHOTO.read_bytes(), {"Content_Type": "image/jpeg"}),
        (400, "POST", "/v1/segment?" + ok, b"no picture", {"Content_Type": "image/png"}),
        (400, "POST", "/v1/segment?" + ok, b"BM" + bytes(60), {"Content_Type": "image/bmp"}),
        (400, "POST", "/v1/segment?" + ok, PHOTO.read_bytes()[:5000], {"Content_Type": "image/jpeg"}),
        (400, "POST", "/v1/segment?" + ok, b"", {"Content_Type": "image/jpeg"}),
        (400, "POST", "/v1/segment?" + ok + "&beta=much", PHOTO.read_bytes(), {"Content_Type": "image/jpeg"}),
        (
            400,
            "POST",
            "/v1/segment?" + ok + "&window=100",
            PHOTO.read_bytes(),
            {"Content_Type": "image/jpeg"},
        ),
        (
            400,
            "POST",
            "/v1/segment?" + ok,
            form([])[:-9],
            {"Content_Type": "multipart/form-data; boundary=B"},
        ),
        (413, "POST", "/v1/segment?" + ok, big, {"Content_Type": "image/jpeg"}),
        (
            413,
            "POST",
            "/v1/segment?" + query(*map(str, range(40))),
            PHOTO.read_bytes(),
            {"Content_Type": "image/jpeg"},
        ),
        (413, "POST", "/v1/segment?" + ok, b"P6 2000 1000 255 " + bytes(100), {"Content_Type": "image/jpeg"}),
        (415, "POST", "/v1/segment?" + ok, b"<html>", {"Content_Type": "text/html"}),
        (403, "GET", "/healthz", None, {"Origin": "https://evil.example"}),
        (403, "GET", "/healthz", None, {"Host": "evil.example"}),
    ]
    for wanted, method, target, body, headers in cases:
        status, _, text = server.ask(method, target, body, **headers)
        check(status == wanted, f"{method} {target[:60]}: {status}, not {wanted}: {text[:200]}")
        problem = json.loads(text)
        check(problem["status"] == wanted and problem["error"], "no reason is given")
        check("/proc/" not in problem["error"], f"a path of the server is told: {problem['error']}")
    status, _, text = server.ask("POST", "/v1/segment?" + ok, iter([b"x"]), Content_Type="image/png")
    check(status == 411, f"a body of unknown length: {status}")
    long = "a" * 40000
    check(server.ask("GET", "/v1/model?x=" + long)[0] == 414, "an address without end is read")
    check(server.ask("GET", "/v1/model", X_Long=long)[0] == 431, "a head without end is read")
    check(server.segment(ok)[0] == 200, "the server does not go on after refusals")
    status, _, text = server.segment(query("dog", format="json") + FAST, PHOTO.read_bytes()[:-2])
    said = json.loads(text).get("warnings", [])
    check(status == 200 and "end marker" in str(said), f"nothing is said of a cut end: {said}")
    check(not any("/proc/" in line for line in said), f"a path of the server is told: {said}")
    print(f"serve: {len(cases) + 1} refusals, each with its status and its reason")


def reads(connection, seconds):
    """Everything until the server closes."""
    connection.settimeout(seconds)
    found = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while piece := connection.recv(4096):
            found += piece
    return found


def slow_clients(program):
    with Server(program, "--timeout", "2s", "--connections", "16") as server:

        def opened(text):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(text)
            return connection

        head = b"POST /v1/segment?class=a HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        for text in [b"", b"GET / HT", head, head + b"Content-Length: 100000\r\n\r\nxx"]:
            start = time.monotonic()
            answer = reads(opened(text), 10)
            took = time.monotonic() - start
            check(b" 408 " in answer and took < 5, f"after {text[:20]}: {answer[:60]} in {took:.1f} s")
        # One that sends a byte now and then is late, too.
        trickle = opened(head)
        start = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - start < 10:
                trickle.sendall(b"X")
                time.sleep(0.2)
        check(time.monotonic() - start < 6, "a client that trickles is kept")
    with Server(program, "--timeout", "60s", "--connections", "16") as server:
        half = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(64)]
        for connection in half[:32]:
            connection.sendall(b"GET / HTTP/1.1\r\nHost:")
        start = time.monotonic()
        check(server.ask("GET", "/healthz", timeout=50)[0] == 200, "half-open clients hold the server")
        took = time.monotonic() - start
        check(took < 40, f"half-open clients held the server for {took:.0f} s")
        late = server.metrics().get('trident_responses_total{code="408"}', 0)
        check(late > 0, "clients that made room are not counted as 408")
        for connection in half:
            connection.close()
    print(
        f"serve: slow and half-open clients are ended; among 64 of them another "
        f"waits {took:.0f} s, with 16 places"
    )


def lines_about_photos(program):
    with Server(program, quiet=False) as server:
        check(server.ask("POST", "/nowhere", b"x" * 5000)[0] == 404, "an address that is none")
        check(server.segment("class=a", b"no photo")[0] == 400, "no photo")
        server.process.terminate()
        said = server.process.stderr.read()
        check("photo: 400" in said and "404" not in said, f"lines about photos: {said}")
    print("serve: what was no photo is not told as one")


def full_queue(program):
    with Server(program, "--queue", "1") as server:
        results, lock = [], threading.Lock()

        def one():
            status, headers, _ = server.segment(query(*WORDS, format="labels"))
            with lock:
                results.append((status, headers["Retry-After"]))

        threads = [threading.Thread(target=one) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = [status for status, _ in results if status == 200]
        refused = [after for status, after in results if status == 429]
        check(len(done) >= 2 and len(done) + len(refused) == 6, f"six at once with a queue of one: {results}")
        check(refused and all(int(after) >= 1 for after in refused), f"no Retry-After: {results}")
        # A client that goes away gives its place back.
        gone = socket.create_connection(("127.0.0.1", server.port))
        photo = PHOTO.read_bytes()
        gone.sendall(
            f"POST /v1/segment?{query(*WORDS)} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
            f"Content-Length: {len(photo)}\r\n\r\n".encode()
            + photo
        )
        time.sleep(0.3)
        gone.close()
        end = time.monotonic() + 30
        while time.monotonic() < end and server.metrics()["trident_busy"]:
            time.sleep(0.2)
        found = server.metrics()
        check(
            not found["trident_busy"] and not found["trident_held_bytes"],
            "a client that is gone is waited for",
        )
    print(f"serve: a full queue answers 429 with Retry-After ({len(refused)} of 6 at once)")


def tokens(program):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "token")
        path.write_text("short\n")
        run = subprocess.run(
            [program, "serve", "--model", MODEL, "--port", "0", "--token-file", str(path)],
            capture_output=True,
            text=True,
        )
        check(run.returncode == 2 and "16" in run.stderr, f"a short token: {run.returncode} {run.stderr}")
        path.write_text("0123456789abcdef\n")
        with Server(program, "--token-file", str(path)) as server:
            ask = query("dog", format="labels") + FAST
            check(server.segment(ask)[0] == 401, "no token is needed")
            check(server.segment(ask, Authorization="Bearer 0123456789abcdeF")[0] == 401, "any token will do")
            check(
                server.segment(ask, Authorization="Bearer 0123456789abcdef")[0] == 200,
                "the token will not do",
            )
            check(server.ask("GET", "/healthz")[0] == 200, "healthz needs a token")
            check(server.ask("GET", "/metrics")[0] == 401, "metrics need no token")
        words = str(pathlib.Path(folder, "words.tvoc"))
        subprocess.run(
            [program, "text", "--model", MODEL, "--class", "horse", "--class", "sky", "--output", words],
            check=True,
            capture_output=True,
        )
        with Server(program, "--vocabulary", words) as server:
            check(json.loads(server.ask("GET", "/v1/model")[2])["vocabulary"] == ["horse", "sky"], "no words")
            status, _, body = server.segment("format=json" + FAST)
            check(status == 200 and len(json.loads(body)["classes"]) == 2, f"a vocabulary: {status}")
            check(server.segment("class=dog")[0] == 400, "a vocabulary takes other words")


def load(server, seconds):
    """Eight clients at once, for some time: every request is answered, and nothing grows."""
    counts, lock, end = {}, threading.Lock(), time.monotonic() + seconds
    peak, excess = [0], [0]
    ask = query(*WORDS, format="labels")
    check(server.segment(ask)[0] == 200, "no first answer")

    def client():
        while time.monotonic() < end:
            status = server.segment(ask)[0]
            with lock:
                counts[status] = counts.get(status, 0) + 1
            if status == 429:
                time.sleep(0.2)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    samples = []
    while any(thread.is_alive() for thread in threads):
        samples.append(server.private())
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    plan = server.metrics()["trident_planned_bytes"]
    peak, excess = max(samples), max(samples) - plan
    time.sleep(1.5)
    after = server.metrics()
    check(set(counts) <= {200, 429} and counts.get(200, 0) >= 4, f"answers under load: {counts}")
    check(after["trident_held_bytes"] == 0 and not after["trident_busy"], "photos are held after the load")
    check(excess <= 2 << 20, f"at work {excess / 2**20:.1f} MiB above the plan of {plan / 2**20:.1f} MiB")
    # The first third beside the last.
    third = len(samples) // 3
    grown = max(samples[-third:]) - max(samples[:third])
    check(grown < 1 << 20, f"private memory grew by {grown / 2**20:.2f} MiB in {seconds} s")
    links = [
        name for name in server.files() if name.startswith("/") and not name.startswith(("/dev/", "/memfd:"))
    ]
    check(all(name.endswith(".gguf") for name in links), f"files are open: {links}")
    check(not any("memfd" in name for name in server.files()), f"photos are kept: {server.files()}")
    print(
        f"serve: 8 clients for {seconds} s: {counts.get(200, 0)} photos, {counts.get(429, 0)} refused, "
        f"none lost; "
        f"plan {plan / 2**20:.1f} MiB, peak {peak / 2**20:.1f}, growth {grown / 2**20:.2f}, "
        f"afterwards {server.private() / 2**20:.1f}"
    )


def described(program, command, examples):
    """What schemathesis makes of the interface's description. Valid fields alone make no valid request: words
    are needed, and a photo that is one."""
    with Server(program, "--profile", "fast", "--max-body", "1M") as server:
        run = subprocess.run(
            [command, "run", f"http://127.0.0.1:{server.port}/openapi.json", "--max-examples", str(examples),
             "--seed", "1", "--request-timeout", "20", "--no-color", "--warnings", "off", "--max-time", "60",
             "--exclude-checks", "positive_data_acceptance"],
            capture_output=True, text=True, timeout=200, cwd=tempfile.gettempdir(),
        )
        check(run.returncode == 0, f"schemathesis:\n{run.stdout[-4000:]}{run.stderr[-1000:]}")
        check(server.process.poll() is None, "the server does not outlive schemathesis")
        line = next(line for line in run.stdout.splitlines() if "generated" in line)
    print(f"serve: schemathesis, {line.strip()}")


def quietly(server, ask):
    """A photo whose answer does not matter."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.segment(ask)


def ends(program):
    for number in [signal.SIGINT, signal.SIGTERM]:
        with Server(program) as server:
            code, took = server.stop(number)
            check(code == 0 and took < 3, f"signal {number}: code {code} after {took:.1f} s")
    with Server(program) as server:
        found = []
        thread = threading.Thread(target=lambda: found.append(server.segment(query(*WORDS))[0]))
        thread.start()
        time.sleep(0.4)
        code, took = server.stop()
        thread.join()
        check(code == 0 and took < 8, f"while at work: code {code} after {took:.1f} s")
        check(found in ([503], [200]), f"who waits when it ends is told {found}")
    with Server(program) as server:
        # All these words take longer to encode than anybody waits.
        words = query(*[f"thing {number}" for number in range(250)])
        thread = threading.Thread(target=quietly, args=(server, words))
        thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        code, took = server.stop()
        thread.join()
        check(code in (0, 130) and took < 3, f"the second Ctrl-C: code {code} after {took:.1f} s")
    with Server(program) as server:
        run = subprocess.run(
            [program, "serve", "--model", MODEL, "--port", str(server.port)], capture_output=True, text=True
        )
        check(run.returncode == 6 and str(server.port) in run.stderr, f"a port that is taken: {run}")
    for flags in [["--listen", "somewhere"], ["--port", "70000"], ["--timeout", "soon"], ["--queue", "-1"]]:
        run = subprocess.run([program, "serve", "--model", MODEL, *flags], capture_output=True, text=True)
        check(run.returncode == 2 and run.stderr, f"{flags}: {run.returncode}")
    print("serve: Ctrl-C and SIGTERM end it with code 0, idle and at work")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--schemathesis", help="its command, to be run as well")
    options = parser.parse_args()
    # A shell in the background has its programs ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    program = options.program
    with Server(program) as server:
        addresses(server)
        idle = server.private()
        check(idle <= 6 << 20, f"idle, it holds {idle / 2**20:.1f} MiB of private memory")
        print(f"serve: idle, {idle / 2**20:.1f} MiB private")
        formats(program, server)
    with Server(program, "--max-body", "1M", "--max-classes", "30", "--max-pixels", "1000000") as server:
        refusals(server)
    templates(program)
    slow_clients(program)
    lines_about_photos(program)
    full_queue(program)
    tokens(program)
    with Server(program) as server:
        load(server, options.seconds)
        code, _ = server.stop()
        check(code == 0, f"after the load: code {code}")
    ends(program)
    if options.schemathesis:
        described(program, options.schemathesis, 20 if options.seconds < 60 else 300)


if __name__ == "__main__":
    main()
