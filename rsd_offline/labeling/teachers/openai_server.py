"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, Ollama, a cloud API."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from rsd_offline.labeling.answer_cache import Answer
from rsd_offline.labeling.questions import Question
from rsd_offline.labeling.teachers.base import (
    TeacherBusyError,
    TeacherDeniedError,
    TeacherIdentity,
    TeacherRefusedError,
)

STRUCTURES = ("json_schema", "json_object", "none")
MOST_CONNECTIONS = 65_536
NO_KEY = "no-key"  # local servers want a header but do not read it


@dataclass(frozen=True)
class ServerConfig:
    """Where the server is and how it is asked. The key comes from the environment (OPENAI_API_KEY) alone."""

    model: str
    base_url: str | None = None  # None = OPENAI_BASE_URL, else OpenAI's own
    temperature: float = 0.7  # > 0: the samples of one frame must be able to differ
    structure: str = "json_schema"  # what the server is told of the answer's form
    timeout: float = 180.0  # s for one answer
    token_limit_name: str = "max_completion_tokens"  # older servers know max_tokens only

    def __post_init__(self) -> None:
        if self.structure not in STRUCTURES:
            raise ValueError(f"structure is {self.structure!r}, choose among {', '.join(STRUCTURES)}")


def request_body(question: Question, config: ServerConfig) -> bytes:
    """The JSON of a chat completion request, as for a server or a line of a batch file."""
    text = json.dumps(_request(question, config, ["<picture>"] * len(question.pictures)))
    # The pictures are put in as they are: no encoder has to look at each of their many letters.
    parts = text.encode().split(b'"<picture>"')
    urls = [b'"' + picture.data_url + b'"' for picture in question.pictures]
    return parts[0] + b"".join(url + part for url, part in zip(urls, parts[1:], strict=True))


def _request(question: Question, config: ServerConfig, urls: list[str]) -> dict:
    content: list[dict] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content.append({"type": "text", "text": question.text})
    body = {
        "model": config.model,
        "messages": [{"role": "system", "content": question.system}, {"role": "user", "content": content}],
        config.token_limit_name: question.max_tokens,
        "temperature": config.temperature,
        "seed": question.sample * 1000 + question.attempt,
    }
    if config.structure == "json_schema":
        named = {"name": question.task, "strict": True, "schema": question.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    elif config.structure == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


def server_identity(config: ServerConfig) -> TeacherIdentity:
    """The same for a server and for batch files of the same model: their answers are exchangeable."""
    return TeacherIdentity(config.model, {"temperature": config.temperature, "structure": config.structure})


def answer_of(body: dict) -> Answer:
    """The answer in a chat completion; an empty one where the server left its parts out."""
    choice = (body.get("choices") or [{}])[0] or {}
    message, usage = choice.get("message") or {}, body.get("usage") or {}
    return Answer(
        text=str(message.get("content") or ""),
        finish_reason=str(choice.get("finish_reason") or "stop"),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
        refusal="refused" if message.get("refusal") or choice.get("finish_reason") == "content_filter" else "",
    )


class OpenAIServer:
    """A server through the `openai` client, which is told not to retry: the run does, and counts."""

    looks, samples, family = True, True, "general"
    reach = math.inf

    def __init__(self, config: ServerConfig) -> None:
        try:
            import openai
            from httpx2 import Limits

            # aiohttp underneath takes a quarter of the time that the default does, which looks at every open connection
            # for each request; the bound on requests in flight is the run's.
            http = openai.DefaultAioHttpClient(limits=Limits(max_connections=MOST_CONNECTIONS), timeout=config.timeout)
        except (ImportError, RuntimeError) as error:
            raise ImportError(
                f"a server needs openai[aiohttp] 3 or newer ({error}): pip install '.[labels]'"
            ) from error
        self._openai, self.config = openai, config
        key = os.environ.get("OPENAI_API_KEY") or NO_KEY
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=config.base_url, max_retries=0, timeout=config.timeout, http_client=http
        )
        self.identity = server_identity(config)

    async def ask(self, question: Question) -> Answer:
        """One chat completion."""
        try:
            # Not chat.completions.create, which checks every value of a request against its types at twice the cost.
            text = await self._client.post(
                "/chat/completions", cast_to=str, content=request_body(question, self.config),
                options={"headers": {"content-type": "application/json"}},
            )  # fmt: skip
        except self._openai.APITimeoutError as error:
            raise TeacherBusyError(_silence(error)) from error
        except self._openai.APIConnectionError as error:
            raise TeacherBusyError("no_connection") from error
        except self._openai.APIStatusError as error:
            raise _by_status(error.status_code, error.response.headers, " ".join(error.response.text.split())) from None
        try:
            body = json.loads(text)
        except ValueError:
            raise TeacherBusyError("broken_response") from None
        if not isinstance(body, dict) or not body.get("choices"):
            raise TeacherBusyError("broken_response")
        return answer_of(body)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _silence(error: Exception) -> str:
    """Why nothing came: the client calls a closed or refused connection a timeout too; aiohttp's own error tells."""
    cause = error.__cause__ and error.__cause__.__cause__
    return "timeout" if cause is None or isinstance(cause, TimeoutError) else "no_connection"


def _by_status(status: int, headers: object, detail: str) -> Exception:
    if status in (401, 403, 404):
        remedy = {401: "set OPENAI_API_KEY", 403: "check what the key may do", 404: "check base URL and model"}[status]
        return TeacherDeniedError(f"the server answers {status}: {remedy} ({detail[:200]})")
    if status in (408, 409, 425, 429) or status >= 500:
        return TeacherBusyError(f"http_{status}", retry_after(headers.get("retry-after")))  # type: ignore[attr-defined]
    return TeacherRefusedError(f"http_{status}", detail[:200])


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None where there is none that can be read."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now))
    except (TypeError, ValueError):
        return None
