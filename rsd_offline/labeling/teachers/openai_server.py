"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, Ollama, a cloud API."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from rsd_offline.labeling.answer_cache import Answer
from rsd_offline.labeling.answers import storable
from rsd_offline.labeling.questions import Question
from rsd_offline.labeling.teachers.base import (
    TeacherBusyError,
    TeacherDeniedError,
    TeacherIdentity,
    TeacherRefusedError,
)

STRUCTURES = ("json_schema", "json_object", "none")
TOKEN_LIMITS = ("max_completion_tokens", "max_tokens")
MOST_CONNECTIONS = 65_536
SEEDS_OF_ATTEMPTS = 500  # a sample's seeds: as many for its attempts, and as many for samples that it is asked with
JSON_CONTENT = {"Content-Type": "application/json"}
NO_KEY = "no-key"  # local servers want a header but do not read it


@dataclass(frozen=True)
class ServerConfig:
    """Where the server is and how it is asked. The key comes from the environment (OPENAI_API_KEY) alone."""

    model: str
    base_url: str | None = None  # None = OPENAI_BASE_URL, else OpenAI's own
    temperature: float = 0.7  # > 0: the samples of one frame must be able to differ
    structure: str = "json_schema"  # what the server is told of the answer's form
    timeout: float = 180.0  # s for one answer
    token_limit_name: str = "max_completion_tokens"  # Ollama's server knows max_tokens only
    choices: int = 8  # samples that one request may ask for (`n`)

    def __post_init__(self) -> None:
        if self.structure not in STRUCTURES:
            raise ValueError(f"structure is {self.structure!r}, choose among {', '.join(STRUCTURES)}")
        if self.token_limit_name not in TOKEN_LIMITS:
            raise ValueError(f"token limit is {self.token_limit_name!r}, choose among {', '.join(TOKEN_LIMITS)}")
        if self.choices < 1:
            raise ValueError(f"choices is {self.choices}, expected 1 or more")

    @property
    def most_choices(self) -> int:
        """Samples that one request asks for at most: vLLM refuses `n` without randomness."""
        return self.choices if self.temperature > 0.0 else 1


def request_body(question: Question, config: ServerConfig, count: int = 1) -> bytes:
    """The JSON of a chat completion request for `count` answers, as for a server or a line of a batch file."""
    request = _request(question, config, ["<picture>"] * len(question.pictures))
    if count > 1:
        # vLLM gives seed, seed + 1 ... to its answers: these must not be the seeds of questions asked by themselves.
        request |= {"n": count, "seed": request["seed"] + SEEDS_OF_ATTEMPTS}
    text = json.dumps(request)
    # The pictures are put in as they are: no encoder has to look at each of their many letters.
    parts = text.encode().split(b'"<picture>"')
    urls = [b'"' + picture.data_url + b'"' for picture in question.pictures]
    return parts[0] + b"".join(url + part for url, part in zip(urls, parts[1:], strict=True))


def _request(question: Question, config: ServerConfig, urls: list[str]) -> dict:
    content: list[dict] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content.append({"type": "text", "text": question.text})
    body = {
        "model": config.model,
        "messages": [{"role": "system", "content": question.prompt.system}, {"role": "user", "content": content}],
        config.token_limit_name: question.prompt.max_tokens,
        "temperature": config.temperature,
        "seed": question.sample * 2 * SEEDS_OF_ATTEMPTS + question.attempt,
    }
    if config.structure == "json_schema":
        named = {"name": question.task, "strict": True, "schema": question.prompt.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    elif config.structure == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


def server_identity(config: ServerConfig) -> TeacherIdentity:
    """The same for a server and for batch files of the same model: their answers are exchangeable."""
    return TeacherIdentity(config.model, {"temperature": config.temperature, "structure": config.structure})


def answers_of(body: dict, most: int = 1) -> list[Answer]:
    """The answers in a chat completion, at least one; empty ones where the server left their parts out."""
    choices = body.get("choices") or [{}]
    answers = [_answer(_fields(choice)) for choice in choices[:most]]
    usage = _fields(body.get("usage"))
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (count if isinstance(count, int) else 0 for count in counts)
    first = replace(answers[0], prompt_tokens=prompt, completion_tokens=completion)
    return [first, *(replace(answer, requests=0) for answer in answers[1:])]


def _answer(choice: dict) -> Answer:
    message, finished = _fields(choice.get("message")), str(choice.get("finish_reason") or "stop")
    refused = message.get("refusal") or finished == "content_filter"
    text = storable(str(message.get("content") or ""))
    return Answer(text, finished, refusal="refused" if refused else "")


def _fields(value: object) -> dict:
    """A JSON object, an empty one where something else stands in its place."""
    return value if isinstance(value, dict) else {}


class OpenAIServer:
    """A server through the `openai` client: its address, key, headers, connections and errors.

    Bodies are written and read here: the typed `chat.completions.create` takes 1.6 ms more of a frame's 5. The client
    sends nothing again: the run does that, with all requests in view.
    """

    looks, samples, family = True, True, "general"
    reach = math.inf

    def __init__(self, config: ServerConfig) -> None:
        try:
            import httpx2
            import openai

            # aiohttp underneath takes a quarter of the time that the default does, which looks at every open connection
            # for each request; the bound on requests in flight is the run's.
            limits = httpx2.Limits(max_connections=MOST_CONNECTIONS)
            transport = openai.DefaultAioHttpClient(limits=limits, timeout=config.timeout)
        except (ImportError, RuntimeError) as error:
            raise ImportError(
                f"a server needs openai[aiohttp] 3 or newer ({error}): pip install '.[labels]'"
            ) from error
        key = os.environ.get("OPENAI_API_KEY") or NO_KEY
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=config.base_url, http_client=transport, max_retries=0, timeout=config.timeout
        )
        self._openai, self._response, self.config = openai, httpx2.Response, config
        self.identity = server_identity(config)
        self.choices = config.most_choices

    async def ask(self, question: Question) -> Answer:
        """One chat completion with one answer."""
        return (await self.ask_several(question, 1))[0]

    async def ask_several(self, question: Question, count: int) -> list[Answer]:
        """One chat completion with up to `count` answers."""
        content = request_body(question, self.config, count)
        try:
            response = await self._client.post(
                "/chat/completions", cast_to=self._response, content=content, options={"headers": JSON_CONTENT}
            )
        except self._openai.APIStatusError as error:
            words = " ".join(error.response.text.split())
            raise status_error(error.status_code, words, requested_wait(error.response.headers)) from error
        except Exception as error:  # aiohttp's own, too, where the client has no name for them
            raise TeacherBusyError(self._silence(error)) from error
        try:
            body = json.loads(response.content)
        except ValueError:
            raise TeacherBusyError("broken_response") from None
        if not isinstance(body, dict) or not body.get("choices") or not isinstance(body["choices"], list):
            raise TeacherBusyError("broken_response")
        return answers_of(body, count)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _silence(self, error: Exception) -> str:
        """Why nothing came: a closed or refused connection is called a timeout too; aiohttp's own error tells."""
        timed_out = isinstance(error, self._openai.APITimeoutError)
        own = getattr(error.__cause__, "__cause__", None)
        return "timeout" if timed_out and isinstance(own, TimeoutError | None) else "no_connection"


def status_error(status: int, detail: str = "", wait: float | None = None) -> Exception:
    """What an HTTP status other than success means; `wait`: s that the server asks for."""
    if status in (401, 403, 404):
        remedy = {401: "set OPENAI_API_KEY", 403: "check what the key may do", 404: "check base URL and model"}[status]
        return TeacherDeniedError(f"the server answers {status}: {remedy} ({detail[:200]})")
    if status in (408, 409, 425, 429) or status >= 500:
        return TeacherBusyError(f"http_{status}", wait)
    return TeacherRefusedError(f"http_{status}", detail[:200])


def requested_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks for: Retry-After, or the finer retry-after-ms of OpenAI's and Azure's servers."""
    milliseconds = retry_after(headers.get("retry-after-ms"))
    return retry_after(headers.get("retry-after")) if milliseconds is None else milliseconds / 1000.0


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None where there is none that can be read."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
