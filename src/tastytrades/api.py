"""Talk to the running gateway as the local operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tastytrades import runtime
from tastytrades.runtime import RuntimeFault


class Gateway:
    """The gateway's REST interface, authenticated by the data folder's local token. Use as a context manager."""

    def __init__(self, data_dir: Path) -> None:
        self.state = runtime.load(data_dir)
        self._client = httpx.Client(
            base_url=f"{self.state.url}/api/v1",
            headers={"Authorization": f"Bearer {runtime.secret(data_dir, 'local-token')}"},
            timeout=10.0,
            trust_env=False,
        )

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **parameters: str) -> Any:
        """JSON of a GET. Raises RuntimeFault with the gateway's own explanation."""
        return self._answer("GET", path, params=parameters)

    def post(self, path: str, body: dict[str, object]) -> Any:
        """JSON of a POST. Raises RuntimeFault with the gateway's own explanation."""
        return self._answer("POST", path, json=body)

    def _answer(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise RuntimeFault(
                f"the gateway at {self.state.url} does not answer ({type(error).__name__}): see `tastytrades doctor`"
            ) from None
        if response.is_error:
            raise RuntimeFault(_explain(response))
        return response.json() if response.content else {}


def _explain(response: httpx.Response) -> str:
    try:
        problem = response.json()
        parts = [problem.get("detail") or problem.get("title") or response.reason_phrase]
        parts += [f"{each.get('field')}: {each.get('advice')}" for each in problem.get("errors", [])]
    except (ValueError, AttributeError):
        parts = [response.text[:200] or response.reason_phrase]
    return f"{response.status_code}: " + "; ".join(dict.fromkeys(str(part) for part in parts))
