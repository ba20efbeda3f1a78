"""Every family to Hugging Face and back: a checkpoint of a short run is exported, transformers loads it, and its logits must be
ribosome's.

    pip install torch==2.5.1 transformers==4.36.2 "numpy<2" safetensors
    cargo build --release
    python golden/hugging_face.py target/release/ribosome

For each tiny preset: `ribosome train` writes a checkpoint, `ribosome export` makes a folder of it, `from_pretrained` reads
the folder and must find every weight and no other. `ribosome import` must give the checkpoint's weights back bit for bit, from
that folder and from the one that `save_pretrained` then writes.
What transformers computes with the weights that it read becomes a case, and `ribosome verify` holds it to 3e-5.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

RIBOSOME = str(Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/ribosome").resolve())
PROTEINS = Path(__file__).parent.parent / "examples/data/proteins.fasta"
PRESETS = ["prot-t5-tiny", "prot-bert-tiny", "prot-albert-tiny", "prot-electra-tiny", "prot-xlnet-tiny", "prot-txl-tiny",
           "protein-lm-tiny"]
# ProteinLM's head has the exact gelu and its layers the tanh form; transformers' class has one for both.
CHANGES = {"protein-lm-tiny": ["--set", "model.head_act=gelu_new"]}
STEPS = 5


def ribosome(*arguments):
    """Runs ribosome; gives what it prints."""
    done = subprocess.run([RIBOSOME, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"ribosome {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done.stdout


def assert_back(trained, imported):
    """Every weight that was imported is the trained one, bit for bit."""
    with safe_open(trained, "pt") as trained, safe_open(imported, "pt") as imported:
        for name in imported.keys():
            before, after = trained.get_tensor(name), imported.get_tensor(name)
            assert before.dtype == after.dtype and torch.equal(before, after), f"{name} is another after import"


def load(folder):
    """The model of one folder, in the class that its config names; every weight found, and no other there."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    # Transformer-XL's frequencies are a buffer, which follows from the sizes; weights are parameters.
    weights = dict(model.named_parameters())
    info["missing_keys"] = [name for name in info["missing_keys"] if name in weights]
    assert not any(info.values()), f"{folder}: {info}"
    return model.eval()


def tokens(model, length=24):
    """Two rows of any ids of the vocabulary."""
    return torch.randint(0, model.config.vocab_size, (2, length))


def padded(model):
    """Ids of which the second row's last are no more than padding."""
    mask = torch.ones(2, 24, dtype=torch.long)
    mask[1, 15:] = 0
    return {"input_ids": tokens(model), "attention_mask": mask}


def one_pass(model):
    """What a model gives that reads a whole row."""
    detects = type(model).__name__ == "ElectraForPreTraining"
    inputs = padded(model)
    length = 9 if model.config.is_encoder_decoder else 24
    inputs["labels"] = torch.randint(0, 2, (2, length)) if detects else tokens(model, length)
    if type(model).__name__ == "BertForPreTraining":
        inputs["next_sentence_label"] = torch.tensor([1, 0])
    if type(model).__name__ == "AlbertForPreTraining":
        inputs["sentence_order_label"] = torch.tensor([1, 0])
    outputs = model(**inputs)
    return inputs, {name: outputs[name] for name in outputs if name == "loss" or name.endswith("logits")}


def two_segments(model):
    """What a model gives that reads a text in segments, the second with the first's memory."""
    inputs, outputs, memory = {}, {}, None
    for segment in ("seg1", "seg2"):
        ids = tokens(model)
        with_loss = model(input_ids=ids, mems=memory, labels=ids)
        if type(model).__name__ == "TransfoXLLMHeadModel":
            outputs["log_probs_" + segment] = model(input_ids=ids, mems=memory).prediction_scores
        else:
            outputs["logits_" + segment] = with_loss.logits
        outputs["loss_" + segment] = with_loss.loss
        inputs |= {"input_ids_" + segment: ids, "labels_" + segment: ids}
        memory = with_loss.mems
    return inputs, outputs


def save(path, model, inputs, outputs):
    """Writes a case as golden/README.md describes it: whole numbers as I32, all else as F32."""
    tensors = {"input." + name: value.int() for name, value in inputs.items()}
    tensors |= {"output." + name: value for name, value in outputs.items()}
    tensors |= {"weight." + name: value for name, value in model.named_parameters()}
    meta = {"kind": type(model).__name__, "args": {}, "config": model.config.to_dict()}
    tensors = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    save_file(tensors, path, metadata={"meta": json.dumps(meta)})


def main():
    transformers.logging.set_verbosity_error()
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as place, torch.no_grad():
        place = Path(place)
        cases = place / "cases"
        cases.mkdir()
        for preset in PRESETS:
            run, folder, saved = (place / preset / name for name in ("run", "folder", "saved"))
            ribosome("train", preset, "--data", PROTEINS, "--on", "cpu:1", "--steps", STEPS, "--out", run, "--quiet",
                     *CHANGES.get(preset, []))
            ribosome("export", run, "--out", folder)
            for config in sorted(folder.rglob("config.json")):
                model = load(config.parent)
                read = two_segments if hasattr(model.config, "mem_len") else one_pass
                model.save_pretrained(saved / config.parent.relative_to(folder), safe_serialization=True)
                save(cases / f"{preset}_{type(model).__name__}.safetensors", model, *read(model))
            for name, written in (("back", folder), ("again", saved)):
                ribosome("import", written, "--out", place / preset / name)
                assert_back(run / "checkpoint.safetensors", place / preset / name / "checkpoint.safetensors")
        print(ribosome("verify", "--all", cases, "--quiet"))


main()
