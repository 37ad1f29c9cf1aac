"""A vision-language model on this machine, through `transformers`: Qwen2.5-VL and newer classes."""

from __future__ import annotations

import asyncio
import io
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rsd_offline.labeling.answer_cache import Answer
from rsd_offline.labeling.pretrained import loading
from rsd_offline.labeling.questions import Question
from rsd_offline.labeling.teachers.base import TeacherIdentity, TeacherRefusedError

DEFAULT_MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"


@dataclass(frozen=True)
class LocalConfig:
    """Which model, and how it is run."""

    model: str = DEFAULT_MODEL  # a folder as `save_pretrained` writes it, or a name on the hub
    device: str = "auto"  # auto = cuda where there is one
    temperature: float = 0.7
    max_tokens: int | None = None  # cap below the prompt's own


class LocalVLM:
    """Any image-text-to-text model with a chat template. One answer at a time: use a server for more."""

    looks, samples, family = True, True, "qwen2_5_vl"
    reach, choices = math.inf, 1

    def __init__(self, config: LocalConfig) -> None:
        try:
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor
        except ImportError as error:
            raise ImportError("a local model needs the package transformers: pip install '.[vlm]'") from error
        device = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        self.config, self._torch = config, torch
        try:
            with loading("local model", config.model):
                self._processor = AutoProcessor.from_pretrained(config.model)
        except (ImportError, AttributeError) as error:  # transformers fails so where a processor's package is missing
            raise ImportError(
                f"the processor of {config.model} cannot be built ({error}); Qwen's needs the torchvision of this torch"
            ) from error
        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        with loading("local model", config.model):
            self._model = AutoModelForImageTextToText.from_pretrained(config.model, dtype=dtype).eval().to(device)
        self.identity = TeacherIdentity(
            config.model, {"temperature": config.temperature, "max_tokens": config.max_tokens}
        )
        self._thread = ThreadPoolExecutor(1, "rsd-vlm")

    async def ask(self, question: Question) -> Answer:
        """Generate one answer."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._generate, question)

    async def close(self) -> None:
        """Stop the model's thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _generate(self, question: Question) -> Answer:
        torch = self._torch
        inputs = self._inputs(question).to(self._model.device)
        limit = min(question.prompt.max_tokens, self.config.max_tokens or question.prompt.max_tokens)
        how: dict = {"do_sample": False}
        if self.config.temperature > 0.0:
            torch.manual_seed(question.sample * 1000 + question.attempt)
            how = {"do_sample": True, "temperature": self.config.temperature}
        try:
            with torch.inference_mode():
                tokens = self._model.generate(**inputs, max_new_tokens=limit, **how)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise TeacherRefusedError("out_of_memory", "use a smaller picture or model") from None
        asked = inputs["input_ids"].shape[1]
        written = tokens[0, asked:]
        text = self._processor.batch_decode(written[None], skip_special_tokens=True)[0]
        reason = "length" if len(written) >= limit else "stop"
        return Answer(text, reason, int(asked), len(written))

    def _inputs(self, question: Question):
        from PIL import Image

        images = [Image.open(io.BytesIO(picture.jpeg)).convert("RGB") for picture in question.pictures]
        content = [{"type": "image"} for _ in images] + [{"type": "text", "text": question.text}]
        messages = [
            {"role": "system", "content": [{"type": "text", "text": question.prompt.system}]},
            {"role": "user", "content": content},
        ]
        prompt = self._processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return self._processor(text=[prompt], images=images or None, return_tensors="pt")
