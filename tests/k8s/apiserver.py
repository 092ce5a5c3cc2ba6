"""A Kubernetes API server of the size that these tests need: objects in memory, over real HTTP.

It keeps objects, selects by label and field, pages, merges patches, deletes a Job's pods with it, evicts, and answers
access reviews. It runs no controller: a test puts pods where it wants them.
"""

import json
import threading
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class ApiServer:
    """`objects` maps a collection's path to its objects by name."""

    def __init__(self):
        self.objects = {}
        self.denied = set()  # (user, verb, resource)
        self.blocked = set()  # pods that a disruption budget protects
        self.hiccups = []  # statuses that the next requests get instead of an answer
        self.requests = []
        self.page_size = 2  # small, so that every list is paged
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"server_state": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def wrap(self, context):
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def put(self, collection, thing):
        with self.lock:
            metadata = thing.setdefault("metadata", {})
            if "name" not in metadata:
                metadata["name"] = metadata.get("generateName", "x-") + uuid.uuid4().hex[:5]
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata.setdefault("creationTimestamp", datetime.now(UTC).isoformat(timespec="seconds"))
            if "/namespaces/" in collection:
                metadata.setdefault("namespace", collection.split("/namespaces/")[1].split("/")[0])
            self.objects.setdefault(collection, {})[metadata["name"]] = thing
            return thing

    def names(self, collection):
        return sorted(self.objects.get(collection, {}))

    def kubeconfig(self, path):
        context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
        cluster = {"name": "test", "cluster": {"server": self.url}}
        user = {"name": "test", "user": {"token": "secret-token"}}
        body = {"apiVersion": "v1", "kind": "Config", "current-context": "test"}
        path.write_text(json.dumps(body | {"contexts": [context], "clusters": [cluster], "users": [user]}))
        return path

    def select(self, path, query):
        found = self._collection(path)
        for part in filter(None, query.get("labelSelector", "").split(",")):
            key, equals, value = part.partition("=")
            labels = [(thing, thing["metadata"].get("labels", {})) for thing in found]
            found = [thing for thing, label in labels if key in label and (not equals or label[key] == value)]
        for part in filter(None, query.get("fieldSelector", "").split(",")):
            key, _, value = part.partition("=")
            found = [thing for thing in found if str(_field(thing, key)) == value]
        start = int(query.get("continue", 0))
        page = found[start : start + self.page_size]
        more = {"continue": str(start + self.page_size)} if start + self.page_size < len(found) else {}
        return {"kind": "List", "metadata": more, "items": page}

    def _collection(self, path):
        version, _, kind = path.rpartition("/")
        everywhere = [
            thing
            for where, things in sorted(self.objects.items())
            if where == path or (where.startswith(f"{version}/namespaces/") and where.endswith(f"/{kind}"))
            for _, thing in sorted(things.items())
        ]
        return everywhere

    def delete(self, collection, name):
        gone = self.objects[collection].pop(name)
        if collection.endswith("/jobs"):
            pods = self.objects.get(f"/api/v1/namespaces/{gone['metadata']['namespace']}/pods", {})
            owned = [n for n, pod in pods.items() if _owned_by(pod, name)]
            for pod in owned:
                del pods[pod]
        return gone


def _field(thing, key):
    for part in key.split("."):
        thing = (thing or {}).get(part)
    return thing


def _owned_by(pod, job):
    return any(owner["name"] == job for owner in pod["metadata"].get("ownerReferences", []))


def merge(target, patch):
    """Apply a JSON merge patch (RFC 7396)."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


# collections of which a missing object is 404; any other path is a collection, perhaps an empty one
MISSED = ("/pods", "/nodes", "/jobs", "/configmaps", "/secrets", "/leases", "/namespaces")


class _Handler(BaseHTTPRequestHandler):
    server_state: ApiServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, status, body):
        if status >= 400:
            body = {"kind": "Status", "code": status, "message": body}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self):
        state = self.server_state
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        with state.lock:
            state.requests.append((self.command, parts.path, self.headers.get("Authorization", "")))
            if state.hiccups:
                return self._answer(state.hiccups.pop(0), "a hiccup")
            self._answer(*getattr(self, f"_{self.command.lower()}")(state, parts.path, query, body))

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def _get(self, state, path, query, _body):
        if path == "/version":
            return 200, {"major": "1", "minor": "33+"}
        if path == "/apis":
            return 200, {"groups": [{"name": "batch"}, {"name": "apps"}]}
        collection, _, name = path.rpartition("/")
        if name in state.objects.get(collection, {}):
            return 200, state.objects[collection][name]
        if ("nobody", "get", name) in state.denied:
            return 403, f"{name} is forbidden"
        if any(collection.endswith(kind) for kind in MISSED):
            return 404, f"{name} not found"
        if ("nobody", "list", name) in state.denied:
            return 403, f"{name} is forbidden"
        return 200, state.select(path, query)

    def _post(self, state, path, _query, body):
        if path.endswith("accessreviews"):
            if ("nobody", "create", path.rpartition("/")[2]) in state.denied:
                return 403, f"{path.rpartition('/')[2]} is forbidden"
            asked = body["spec"]["resourceAttributes"]
            key = (body["spec"].get("user", ""), asked["verb"], asked["resource"])
            return 201, {"status": {"allowed": key not in state.denied}}
        if path.endswith("/eviction"):
            collection, _, name = path.removesuffix("/eviction").rpartition("/")
            if name in state.blocked:
                return 429, "Cannot evict pod as it would violate the pod's disruption budget."
            if name not in state.objects.get(collection, {}):
                return 404, f"pods {name} not found"
            state.delete(collection, name)
            return 201, {"kind": "Status", "status": "Success"}
        return 201, state.put(path, body)

    def _patch(self, state, path, _query, body):
        collection, _, name = path.removesuffix("/status").rpartition("/")
        if self.headers["Content-Type"] != "application/merge-patch+json":
            return 415, "unsupported patch"
        merge(state.objects[collection][name], body)
        return 200, state.objects[collection][name]

    def _delete(self, state, path, query, _body):
        collection, _, name = path.rpartition("/")
        if name not in state.objects.get(collection, {}):
            return 404, f"{name} not found"
        if collection.endswith("/jobs") and query.get("propagationPolicy") != "Background":
            return 400, "this test expects the pods of a Job to go with it"
        return 200, state.delete(collection, name)
