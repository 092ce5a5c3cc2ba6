"""The thin edge to a Kubernetes API server: plain dicts in and out, through the official client's transport."""

import json
from collections.abc import Iterator
from typing import Any

from tasks.errors import ConfigError, TransientError

Object = dict[str, Any]

PAGE_SIZE = 500
REQUEST_SECONDS = 30.0
MERGE_PATCH = "application/merge-patch+json"


class ClusterError(TransientError):
    """The API server did not do what was asked; `status` is its HTTP code, 0 when it did not answer."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class KubeApi:
    """Calls one API server. Dicts, not models: an object of a newer server passes through whole."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        patch: str = "",
    ) -> Object:
        """Return the server's answer. Raises: ClusterError with the server's own sentence."""
        import urllib3

        headers = {"Accept": "application/json", "Content-Type": patch or "application/json"}
        call = self._client.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        try:
            response = self._client.call_api(*call, _request_timeout=REQUEST_SECONDS)
            response.read()
        except urllib3.exceptions.HTTPError as exc:
            raise ClusterError(0, f"{method} {path}: the Kubernetes API server does not answer ({exc})") from exc
        text = (response.data or b"").decode()
        if response.status >= 400:
            raise ClusterError(response.status, f"{method} {path}: {response.status} {_sentence(text)}")
        answer: Object = json.loads(text) if text else {}
        return answer

    def list(self, path: str, *, labels: str = "", fields: str = "") -> Iterator[Object]:
        """Yield the objects of a collection, page by page."""
        query = {"limit": str(PAGE_SIZE)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        while True:
            page = self.request("GET", path, query=query)
            yield from page.get("items", [])
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            query["continue"] = token

    def get(self, path: str) -> Object | None:
        """Return one object, None when there is none."""
        try:
            return self.request("GET", path)
        except ClusterError as exc:
            if exc.status == 404:
                return None
            raise

    def delete(self, path: str) -> bool:
        """Delete an object and, in the background, what it owns. Return False when it was gone already."""
        try:
            self.request("DELETE", path, query={"propagationPolicy": "Background"})
        except ClusterError as exc:
            if exc.status == 404:
                return False
            raise
        return True


def connect(context: str = "", kubeconfig: str = "") -> KubeApi:
    """Return the API of the cluster this process is in, else of the one that KUBECONFIG, or the argument, names.

    Raises: ConfigError when neither is there, or the extra `cluster` is not installed.
    """
    try:
        from kubernetes import client, config
    except ImportError as exc:
        raise ConfigError(f"{exc}; pip install 'avatar-farm[cluster]'") from exc
    try:
        if context or kubeconfig:
            raise config.ConfigException("another cluster is named")
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config(config_file=kubeconfig or None, context=context or None)
        except (config.ConfigException, OSError) as exc:
            raise ConfigError(f"no Kubernetes cluster: {exc}; set KUBECONFIG or run inside a pod") from exc
    return KubeApi(client.ApiClient())


def _sentence(text: str) -> str:
    """Return what the server said, out of its Status object where it sent one."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200]
