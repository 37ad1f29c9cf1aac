"""Loading and running real model classes of transformers, of tiny random configurations."""

import asyncio
import json

import numpy as np
import pytest
from small_frames import SmallFrames, images

from rsd_offline.labeling.grounding import GroundingConfig, ground_annotations
from rsd_offline.labeling.pictures import PictureConfig
from rsd_offline.labeling.prompts import load_prompt
from rsd_offline.labeling.questions import Scene, make_pictures, risk_question

transformers = pytest.importorskip("transformers")

CHAT = (
    "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %} {% endfor %}"
)


def _tokenizer(extra, **special):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: i for i, word in enumerate([*extra, "<unk>", "{", "}", "objects", ":", "risk", "a", "car", "van"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special)
    return fast


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A folder as `save_pretrained` writes it: LLaVA with two thin layers, random weights and its own processor."""
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = _tokenizer(["<pad>", "<image>", "</s>"], pad_token="<pad>", eos_token="</s>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=sizes | {"model_type": "clip_vision_model", "image_size": 28, "patch_size": 14},
        text_config=sizes | {"model_type": "llama", "vocab_size": len(tokenizer), "num_key_value_heads": 2},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    folder = tmp_path_factory.mktemp("llava")
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    LlavaProcessor(
        pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(folder)  # fmt: skip
    return folder


class QwenProcessor:
    """Qwen2.5-VL's processor with its own image part; as a whole it wants torchvision, for videos."""

    def __init__(self):
        marks = ["<|image_pad|>", "<|vision_start|>", "<|vision_end|>"]
        self._tokenizer = _tokenizer(["<pad>", *marks, "</s>"], pad_token="<pad>", eos_token="</s>")
        self._tokenizer.add_special_tokens({"additional_special_tokens": marks})
        self._pictures = transformers.Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=112 * 112)
        self.image_token, self.vision_start, self.vision_end = self._tokenizer.convert_tokens_to_ids(marks)
        self.batch_decode, self.words = self._tokenizer.batch_decode, len(self._tokenizer)

    def apply_chat_template(self, messages, **_):
        marked = CHAT.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
        return self._tokenizer.apply_chat_template(messages, chat_template=marked, tokenize=False)

    def __call__(self, text, images, return_tensors):
        pictures = self._pictures(images=images, return_tensors=return_tensors)
        patches = int(pictures["image_grid_thw"][0].prod()) // self._pictures.merge_size**2
        tokens = self._tokenizer([text[0].replace("<|image_pad|>", "<|image_pad|>" * patches)], return_tensors="pt")
        tokens["mm_token_type_ids"] = (tokens["input_ids"] == self.image_token).int()
        tokens.pop("token_type_ids", None)
        return transformers.BatchFeature({**tokens, **pictures})


@pytest.fixture
def qwen_folder(tmp_path, monkeypatch):
    """Qwen2.5-VL's real model class of a tiny configuration with random weights, as `save_pretrained` writes it."""
    processor = QwenProcessor()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = {"vocab_size": processor.words, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    turns = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    config = transformers.Qwen2_5_VLConfig(
        text_config=sizes | words | {"num_key_value_heads": 1, "rope_parameters": turns},
        vision_config=vision | {"fullatt_block_indexes": [0]}, image_token_id=processor.image_token,
        vision_start_token_id=processor.vision_start, vision_end_token_id=processor.vision_end,
    )  # fmt: skip
    transformers.Qwen2_5_VLForConditionalGeneration(config).save_pretrained(tmp_path)
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", lambda _folder: processor)
    return tmp_path


@pytest.mark.parametrize("model", ["model_folder", "qwen_folder"])
def test_a_local_model_loads_and_answers_within_its_limit(model, request):
    from rsd_offline.labeling.teachers.local_vlm import LocalConfig, LocalVLM

    frame = SmallFrames(1).frame(0)
    objects = ground_annotations(frame, GroundingConfig())
    prompts = {"risk": load_prompt("qwen2_5_vl", "risk")}
    pictures, measured, dark = make_pictures(frame, objects, prompts, PictureConfig(), red_line=False)
    question = risk_question(Scene(frame, tuple(objects), pictures, measured, dark), prompts["risk"], 0)
    teacher = LocalVLM(LocalConfig(str(request.getfixturevalue(model)), device="cpu", max_tokens=5))

    async def ask_twice():
        return await teacher.ask(question), await teacher.ask(question)

    first, second = asyncio.run(ask_twice())
    asyncio.run(teacher.close())
    assert first.prompt_tokens > 100
    assert 1 <= first.completion_tokens <= 5
    assert first == second  # the sample's seed decides


def test_a_model_that_cannot_be_loaded_is_named_with_the_remedy(tmp_path):
    from rsd_offline.labeling.detection import ZeroShotDetector
    from rsd_offline.labeling.teachers.local_vlm import LocalConfig, LocalVLM

    for load in (lambda: LocalVLM(LocalConfig(str(tmp_path))), lambda: ZeroShotDetector(tmp_path)):
        with pytest.raises(ValueError, match=f"{tmp_path} cannot be loaded: give a folder"):
            load()


def test_a_zero_shot_detector_loads_and_gives_boxes_in_pixels(tmp_path):
    from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

    from rsd_offline.labeling.detection import VOCABULARY, ZeroShotDetector

    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["!", "<|startoftext|>", "<|endoftext|>", *letters, *(c + "</w>" for c in letters)]
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), model_max_length=40)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config=sizes | {"vocab_size": len(vocabulary), "max_position_embeddings": 40, "bos_token_id": 1,
                             "eos_token_id": 2, "pad_token_id": 2},
        vision_config=sizes | {"image_size": 64, "patch_size": 16}, projection_dim=16,
    )  # fmt: skip
    folder = tmp_path / "owl"
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer).save_pretrained(folder)
    found = ZeroShotDetector(folder, threshold=0.0).detect(images(0)[0])
    assert len(found) == 16  # one per patch
    assert {d.class_name for d in found} <= set(VOCABULARY.values())
    assert np.isfinite([d.box for d in found]).all()
