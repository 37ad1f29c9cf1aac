import json
from importlib.util import find_spec

import numpy as np
import pytest
from typer.testing import CliRunner

from rsd_offline.cli import app
from rsd_offline.labeling.store import FrameLabel, ObjectLabel, write_shard
from rsd_offline.labeling.text_embeddings import EMBEDDINGS_FILE, ClipTextEncoder, TextEmbeddings, TextEncoderError

TEXTS = ["keep the lane", "stop for the pedestrian", "the light is red"]


class CountingEncoder:
    """Deterministic unit vectors, and how many texts were asked for."""

    def __init__(self, fingerprint="a", dims=4, fail_after=None):
        self.fingerprint, self.dims, self.asked, self.fail_after = fingerprint, dims, [], fail_after

    def encode(self, texts):
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise RuntimeError("out of memory")
        self.asked += texts
        rows = np.array([np.random.default_rng(len(text)).normal(size=self.dims) for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_text_is_embedded_once_and_read_back_without_an_encoder(tmp_path):
    encoder, path = CountingEncoder(), tmp_path / "embeddings.sqlite"
    embeddings = TextEmbeddings(path, encoder)
    assert embeddings.add([*TEXTS, TEXTS[0], ""]) == 3
    assert embeddings.add(TEXTS) == 0
    assert encoder.asked == TEXTS
    embeddings.close()
    reader = TextEmbeddings(path)
    assert len(reader) == 3
    np.testing.assert_array_equal(reader.get(TEXTS[::-1], 4), encoder.encode(TEXTS[::-1]))


def test_empty_and_unknown_texts_are_nan(tmp_path):
    embeddings = TextEmbeddings(tmp_path / "e.sqlite", CountingEncoder())
    embeddings.add(TEXTS[:1])
    found = embeddings.get([TEXTS[0], "", "never added"], 4)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1:]).all()


def test_what_was_embedded_before_a_failure_stays(tmp_path):
    path = tmp_path / "e.sqlite"
    with pytest.raises(RuntimeError, match="out of memory"):
        TextEmbeddings(path, CountingEncoder(fail_after=2)).add(TEXTS, batch=1)
    resumed = CountingEncoder()
    assert TextEmbeddings(path, resumed).add(TEXTS, batch=1) == 1
    assert resumed.asked == TEXTS[2:]


def test_mistakes_name_the_file_and_the_remedy(tmp_path):
    path = tmp_path / "e.sqlite"
    with pytest.raises(FileNotFoundError, match=r"e.sqlite: make them with a text encoder first"):
        TextEmbeddings(path)
    TextEmbeddings(path, CountingEncoder()).add(TEXTS)
    with pytest.raises(ValueError, match="holds embeddings of model a, not of b: use another file"):
        TextEmbeddings(path, CountingEncoder("b"))
    with pytest.raises(ValueError, match="only be read"):
        TextEmbeddings(path).add(TEXTS)
    with pytest.raises(ValueError, match="have 4 dimensions, expected 512"):
        TextEmbeddings(path).get(TEXTS, 512)


@pytest.fixture
def tiny_clip(tmp_path):
    """A folder as `save_pretrained` writes it: CLIP's text tower of random weights and a word-level tokenizer."""
    if find_spec("transformers") is None:
        pytest.skip("package transformers (extra `vlm`) is not installed")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", *sorted({word for text in TEXTS for word in text.split()})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "clip"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPTextConfig(
        vocab_size=len(words), projection_dim=8, max_position_embeddings=8, eos_token_id=2, pad_token_id=0, **sizes
    )
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["projection_dim"] == 8
    return folder


def test_clip_text_embeddings_have_unit_length_and_do_not_depend_on_the_batch(tiny_clip):
    encoder = ClipTextEncoder(tiny_clip)
    together = encoder.encode(TEXTS)
    assert together.shape == (3, 8)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, rtol=1e-5)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    assert ClipTextEncoder(tiny_clip).fingerprint == encoder.fingerprint


def test_the_texts_of_a_label_store_are_embedded_beside_it(tiny_clip, tmp_path):
    store = tmp_path / "labels"
    frames = [FrameLabel("a/00000", current_action=TEXTS[0], reason=TEXTS[1]), FrameLabel("a/00001")]
    write_shard(store, "part", frames, [ObjectLabel("a/00000", 1, "car", 0.5, cause=TEXTS[2])], {})
    run = CliRunner().invoke(app, ["labels", "embed", str(store), "--text-encoder", str(tiny_clip)])
    assert "2 texts, 2 of them new, 8 dimensions" in run.output.replace("\n", "")
    embeddings = TextEmbeddings(store / EMBEDDINGS_FILE)
    assert np.isfinite(embeddings.get(TEXTS[:2], embeddings.dims)).all()
    run = CliRunner().invoke(app, ["labels", "embed", str(store), "--text-encoder", str(tiny_clip), "--causes"])
    assert "3 texts, 1 of them new" in run.output


def test_a_text_encoder_that_is_none_names_the_remedy(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(TextEncoderError, match="cannot be loaded: give a folder that holds a CLIP"):
        ClipTextEncoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(TextEncoderError, match="is a bert model: give a CLIP"):
        ClipTextEncoder(tmp_path)


def test_texts_longer_than_the_model_are_cut_and_counted(tiny_clip, caplog):
    embedded = ClipTextEncoder(tiny_clip).encode(["stop for the pedestrian " * 9, "stop"])
    assert np.isfinite(embedded).all()
    assert "1 of 2 texts are longer than 8 tokens" in caplog.text
