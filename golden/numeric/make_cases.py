"""Makes numeric references with implementations that are not ours, in the format that golden/README.md describes.

    pip install torch==2.5.1 transformers==4.36.2 torch_optimizer==0.3.0 peft==0.13.2 "numpy<2" safetensors
    python golden/numeric/make_cases.py golden/numeric/second
    ribosome verify --all golden/numeric/second

The cases in `numeric/` itself were made in the same way with other sizes; these have odd lengths, other head counts, groups,
epsilons, activations and padding, so that nothing can depend on the sizes of the first.
"""

import json
import sys
from pathlib import Path

import torch
import torch_optimizer
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AlbertConfig, AlbertForMaskedLM, AlbertForPreTraining, BertConfig, BertForMaskedLM, BertForPreTraining,
    ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining, MegatronBertConfig, MegatronBertForMaskedLM, T5Config,
    T5EncoderModel, T5ForConditionalGeneration, TransfoXLConfig, TransfoXLLMHeadModel, XLNetConfig,
    XLNetLMHeadModel,
)
from transformers.optimization import Adafactor, get_linear_schedule_with_warmup

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "golden/numeric/second")


def save(name, kind, arguments, config, tensors):
    """Writes one case; whole numbers as I32, all else as F32."""
    def plain(tensor):
        tensor = tensor.detach()
        return (tensor.float() if tensor.is_floating_point() else tensor.int()).contiguous().clone()

    meta = {"case": name, "kind": kind, "args": arguments, "config": config}
    tensors = {key: plain(value) for key, value in tensors.items()}
    save_file(tensors, OUT / f"{name}.safetensors", metadata={"meta": json.dumps(meta)})
    print(name)


def randomised(model, deviation=0.15):
    """The model without dropout, every weight random: first values of zero or one would hide mistakes."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator) * deviation
            norm = any(word in name.lower() for word in ("layernorm", "layer_norm", ".ln.")) and name.endswith("weight")
            weight.copy_(noise + 1 if norm else noise)
    return model.eval()


def weights_and_gradients(model, loss, prefix="grad."):
    """All weights, and the gradient of `loss` for each (zeros where it has none)."""
    model.zero_grad()
    loss.backward()
    tensors = {}
    for name, weight in model.named_parameters():
        tensors["weight." + name] = weight
        tensors[prefix + name] = torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
    return tensors


def padded(batch, length, vocab, pad=0):
    """Ids and the mask of which are real; every row is shorter than the one before."""
    ids = torch.randint(1, vocab, (batch, length))
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(batch):
        mask[row, length - 2 * row:] = 0
    ids[mask == 0] = pad
    return ids, mask


def labels(ids, mask, vocab, share=0.4):
    """Labels of some real positions, -100 elsewhere."""
    drawn = torch.randint(0, vocab, ids.shape)
    drawn[(torch.rand(ids.shape) > share) | (mask == 0)] = -100
    return drawn


# The BERT families -----------------------------------------------------------------------------------------------------

SMALL = dict(hidden_size=24, num_attention_heads=3, intermediate_size=40, max_position_embeddings=17, vocab_size=23,
             num_hidden_layers=3)


def encoder(name, model_class, config, detects=False):
    """One masked language model, or ELECTRA's discriminator."""
    torch.manual_seed(3)
    model = randomised(model_class(config))
    ids, mask = padded(3, 13, config.vocab_size, config.pad_token_id)
    inputs = {"input_ids": ids, "attention_mask": mask,
              "token_type_ids": torch.randint(0, config.type_vocab_size, ids.shape)}
    wanted = torch.randint(0, 2, ids.shape) if detects else labels(ids, mask, config.vocab_size)
    result = model(**inputs, labels=wanted, output_hidden_states=True)
    tensors = {"input." + key: value for key, value in (inputs | {"labels": wanted}).items()}
    tensors |= {"output.loss": result.loss, "output.logits": result.logits,
                "output.hidden_states": torch.stack(result.hidden_states)}
    tensors |= weights_and_gradients(model, result.loss)
    save(name, model_class.__name__, {}, config.to_dict(), tensors)


def with_sentences(name, model_class, config, label):
    """A masked language model that also classifies its rows as pairs of sentences."""
    torch.manual_seed(12)
    model = randomised(model_class(config))
    ids, mask = padded(3, 13, config.vocab_size, config.pad_token_id)
    inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels(ids, mask, config.vocab_size),
              "token_type_ids": (torch.arange(13) > 6).long().repeat(3, 1), label: torch.tensor([1, 0, 1])}
    result = model(**inputs, output_hidden_states=True)
    tensors = {"input." + key: value for key, value in inputs.items()}
    tensors |= {"output." + key: value for key, value in result.items() if torch.is_tensor(value)}
    tensors["output.hidden_states"] = torch.stack(result.hidden_states)
    tensors |= weights_and_gradients(model, result.loss)
    save(name, model_class.__name__, {}, config.to_dict(), tensors)


def electra_joint(name, share):
    """Generator and discriminator on one batch, with the generator's guesses given."""
    torch.manual_seed(4)
    small = SMALL | {"embedding_size": 24}
    configs = [ElectraConfig(**small | {"hidden_size": 12, "num_hidden_layers": 1}), ElectraConfig(**small)]
    both = nn.Module()
    both.generator, both.discriminator = ElectraForMaskedLM(configs[0]), ElectraForPreTraining(configs[1])
    if share:
        both.discriminator.electra.embeddings = both.generator.electra.embeddings
    randomised(both)
    ids, mask = padded(3, 15, 23)
    wanted = labels(ids, mask, 23)
    corrupted = torch.where(wanted != -100, torch.randint(1, 23, ids.shape), ids)
    replaced = ((corrupted != wanted) & (wanted != -100)).long()
    generator = both.generator(input_ids=ids, attention_mask=mask, labels=wanted)
    discriminator = both.discriminator(input_ids=corrupted, attention_mask=mask, labels=replaced)
    loss = generator.loss + 17.5 * discriminator.loss
    inputs = dict(input_ids=ids, attention_mask=mask, labels=wanted, corrupted_ids=corrupted, is_replaced=replaced)
    outputs = dict(generator_logits=generator.logits, generator_loss=generator.loss, loss=loss,
                   discriminator_logits=discriminator.logits, discriminator_loss=discriminator.loss)
    tensors = {"input." + key: value for key, value in inputs.items()}
    tensors |= {"output." + key: value for key, value in outputs.items()}
    tensors |= weights_and_gradients(both, loss)
    config = dict(generator=configs[0].to_dict(), discriminator=configs[1].to_dict())
    save(name, "ElectraJoint", dict(share_embeddings=share, disc_weight=17.5), config, tensors)


# Models with memories --------------------------------------------------------------------------------------------------

def xlnet(name, lengths, predictions=None, batch=2, **settings):
    """Two segments, the second with the first's memory; with `predictions` in two streams."""
    torch.manual_seed(5)
    config = XLNetConfig(**dict(vocab_size=29, d_model=24, n_layer=3, n_head=3, d_inner=40, mem_len=7) | settings)
    model, memory, tensors = randomised(XLNetLMHeadModel(config)), None, {}
    for segment, length in enumerate(lengths, 1):
        inputs = {"input_ids": torch.randint(9, 29, (batch, length))}
        if predictions:
            rank = torch.stack([torch.randperm(length) for _ in range(batch)])
            inputs["perm_mask"] = (rank[:, :, None] <= rank[:, None, :]).float()
            inputs["target_mapping"] = torch.zeros(batch, predictions, length)
            for row in range(batch):
                last = torch.argsort(rank[row], descending=True)[:predictions]
                inputs["target_mapping"][row, torch.arange(predictions), last] = 1
        else:
            inputs["token_type_ids"] = (torch.arange(length) >= length // 2).long().repeat(batch, 1)
        wanted = torch.randint(9, 29, (batch, predictions or length))
        wanted[0, 0] = -100
        result = model(**inputs, mems=memory, labels=wanted)
        memory = result.mems
        tensors |= {f"input.{key}_seg{segment}": value for key, value in (inputs | {"labels": wanted}).items()}
        tensors |= {f"output.logits_seg{segment}": result.logits, f"output.loss_seg{segment}": result.loss,
                    f"output.mems_seg{segment}": torch.stack(list(memory))}
        tensors |= weights_and_gradients(model, result.loss, f"grad_seg{segment}.")
    save(name, "XLNetLMHeadModel", {}, config.to_dict(), tensors)


def transfo_xl(name, lengths, batch=3, **settings):
    """Two segments, the second with the first's memory."""
    torch.manual_seed(6)
    shape = dict(vocab_size=31, d_model=24, d_embed=24, n_layer=3, n_head=3, d_head=5, d_inner=40, mem_len=7,
                 clamp_len=-1, same_length=False, cutoffs=[], div_val=1)
    config = TransfoXLConfig(**shape | settings)
    model, memory, tensors = randomised(TransfoXLLMHeadModel(config)), None, {}
    for segment, length in enumerate(lengths, 1):
        ids = torch.randint(0, 31, (batch, length))
        result = model(ids, mems=memory, labels=ids.clone())
        with torch.no_grad():
            scores = model(ids, mems=memory).prediction_scores
        memory = result.mems
        tensors |= {f"input.input_ids_seg{segment}": ids, f"input.labels_seg{segment}": ids,
                    f"output.log_probs_seg{segment}": scores, f"output.loss_seg{segment}": result.loss,
                    f"output.mems_seg{segment}": torch.stack(list(memory))}
        tensors |= weights_and_gradients(model, result.loss, f"grad_seg{segment}.")
    save(name, "TransfoXLLMHeadModel", {}, config.to_dict(), tensors)


# T5 --------------------------------------------------------------------------------------------------------------------

T5 = dict(vocab_size=61, d_model=24, d_kv=6, num_heads=3, d_ff=40, num_layers=3, num_decoder_layers=2,
          decoder_start_token_id=0, relative_attention_num_buckets=20, relative_attention_max_distance=30)


def t5(name, **settings):
    """Encoder and decoder, with the loss of restoring the labels."""
    torch.manual_seed(7)
    config = T5Config(**T5 | settings)
    model = randomised(T5ForConditionalGeneration(config))
    ids, mask = padded(3, 17, config.vocab_size)
    wanted = torch.randint(1, config.vocab_size, (3, 11))
    wanted[0, 8:] = -100
    result = model(input_ids=ids, attention_mask=mask, labels=wanted, output_hidden_states=True)
    tensors = {"input.input_ids": ids, "input.attention_mask": mask, "input.labels": wanted,
               "output.loss": result.loss, "output.logits": result.logits,
               "output.encoder_last_hidden_state": result.encoder_last_hidden_state,
               "output.encoder_hidden_states": torch.stack(result.encoder_hidden_states)}
    tensors |= weights_and_gradients(model, result.loss)
    save(name, "T5ForConditionalGeneration", {}, config.to_dict(), tensors)


def low_rank(name, options, **settings):
    """T5 of which a product of two small matrices beside each of some layers is trained."""
    torch.manual_seed(13)
    config = T5Config(**T5 | settings)
    model = randomised(get_peft_model(T5ForConditionalGeneration(config), LoraConfig(**options)))
    ids, mask = padded(3, 17, config.vocab_size)
    wanted = torch.randint(1, config.vocab_size, (3, 11))
    result = model(input_ids=ids, attention_mask=mask, labels=wanted)
    tensors = {"input.input_ids": ids, "input.attention_mask": mask, "input.labels": wanted, "output.loss": result.loss,
               "output.logits": result.logits, "output.encoder_last_hidden_state": result.encoder_last_hidden_state}
    trained = {weight: weight.requires_grad for weight in model.parameters()}
    for key, tensor in weights_and_gradients(model, result.loss).items():
        plain = key.replace("base_model.model.", "").replace(".base_layer", "").replace(".default", "")
        if key.startswith("weight.") or trained[model.get_parameter(key.removeprefix("grad."))]:
            tensors[plain] = tensor
    save(name, "PeftLoraT5", {"model": T5 | settings, "lora": options}, config.to_dict(), tensors)


def t5_encoder(name, length):
    """The encoder alone, by a probe."""
    torch.manual_seed(8)
    config = T5Config(**T5)
    model = randomised(T5EncoderModel(config))
    ids, mask = padded(2, length, config.vocab_size)
    probe, real = torch.randn(2, length, config.d_model), mask[:, :, None].float()
    last = model(input_ids=ids, attention_mask=mask).last_hidden_state
    loss = (last * real * probe).sum() / (real.sum() * config.d_model)
    tensors = {"input.input_ids": ids, "input.attention_mask": mask, "input.probe": probe, "output.loss": loss,
               "output.last_hidden_state": last, "output.mean_pooled": (last * real).sum(1) / real.sum(1)}
    tensors |= weights_and_gradients(model, loss)
    save(name, "T5EncoderModel", {}, config.to_dict(), tensors)


# Optimizers and the convolution head -------------------------------------------------------------------------------------

def optimizer(name, kind, make, options, steps=9, warmup=None):
    """Some steps of an optimizer on weights of all ranks with random gradients."""
    torch.manual_seed(9)
    shapes = dict(matrix=(5, 7), one=(1,), vector=(9,), tensor4=(2, 3, 4, 5), tall=(40, 3), zeros=(6,))
    weights = {key: nn.Parameter(torch.randn(shape) * (key != "zeros")) for key, shape in shapes.items()}
    tensors = {"input.start." + key: weight.detach().clone() for key, weight in weights.items()}
    history = {key: ([], []) for key in shapes}
    optim, rates = make(list(weights.values()), **options), []
    schedule = None if warmup is None else get_linear_schedule_with_warmup(optim, warmup, steps)
    for _ in range(steps):
        for key, weight in weights.items():
            weight.grad = torch.randn_like(weight) * 0.3
            history[key][0].append(weight.grad.clone())
        rates.append(optim.param_groups[0]["lr"] or 0.0)
        optim.step()
        if schedule:
            schedule.step()
        for key, weight in weights.items():
            history[key][1].append(weight.detach().clone())
    for key, (gradients, after) in history.items():
        tensors |= {"input.grad." + key: torch.stack(gradients), "output.param." + key: torch.stack(after)}
    tensors["output.lr"] = torch.tensor(rates)
    arguments = {"name": kind, "options": options}
    if schedule:
        arguments |= {"schedule": "linear", "warmup": warmup}
    save(name, "Optimizer", arguments, {}, tensors)


def convolution_head(name, features, batch, length):
    """ProtTrans's secondary-structure head: a convolution over 7 positions, and one more for each label."""
    torch.manual_seed(10)
    def convolution(to, of):
        return nn.Conv2d(of, to, (7, 1), padding=(3, 0))

    classes, model = dict(dssp3=3, dssp8=8, diso=2), nn.Module()
    model.elmo_feature_extractor = nn.Sequential(convolution(32, features), nn.ReLU(), nn.Dropout(0.25))
    for label, count in classes.items():
        setattr(model, label + "_classifier", nn.Sequential(convolution(count, 32)))
    model.eval()
    embeddings, loss = torch.randn(batch, length, features), 0
    tensors = {"input.embeddings": embeddings}
    hidden = model.elmo_feature_extractor(embeddings.permute(0, 2, 1)[..., None])
    for label, count in classes.items():
        logits = getattr(model, label + "_classifier")(hidden)[..., 0].permute(0, 2, 1)
        wanted = torch.randint(0, count, (batch, length))
        wanted[-1, length // 2:] = -100
        loss = loss + nn.functional.cross_entropy(logits.reshape(-1, count), wanted.reshape(-1))
        tensors |= {"input." + label: wanted, f"output.{label}_logits": logits}
    tensors |= {"output.loss": loss} | weights_and_gradients(model, loss)
    save(name, "ConvHead", dict(features=features), {}, tensors)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    encoder("bert_relu", BertForMaskedLM, BertConfig(**SMALL, hidden_act="relu", layer_norm_eps=1e-3, pad_token_id=5))
    encoder("megatron_wide", MegatronBertForMaskedLM, MegatronBertConfig(**SMALL, layer_norm_eps=1e-4))
    factorised = SMALL | dict(embedding_size=11, num_hidden_layers=7, num_hidden_groups=3, inner_group_num=2)
    encoder("albert_7_passes_3_groups", AlbertForMaskedLM, AlbertConfig(**factorised, layer_norm_eps=1e-6))
    small = AlbertConfig(**SMALL, embedding_size=11, layer_norm_eps=1e-6)
    with_sentences("albert_sentence_order", AlbertForPreTraining, small, "sentence_order_label")
    with_sentences("bert_next_sentence", BertForPreTraining, BertConfig(**SMALL), "next_sentence_label")
    projected = SMALL | dict(embedding_size=11)
    encoder("electra_generator_relu", ElectraForMaskedLM, ElectraConfig(**projected, hidden_act="relu"))
    encoder("electra_discriminator_relu", ElectraForPreTraining, ElectraConfig(**projected, hidden_act="relu"), True)
    electra_joint("electra_joint_own_embeddings", False)
    electra_joint("electra_joint_one_embedding", True)
    xlnet("xlnet_short_memory", (9, 6), mem_len=4, ff_activation="relu", layer_norm_eps=1e-5)
    xlnet("xlnet_two_streams_both_ways", (9, 7), predictions=3, batch=4, bi_data=True, reuse_len=5, clamp_len=6)
    transfo_xl("transfo_xl_same_length", (9, 6), same_length=True, clamp_len=3, mem_len=4)
    transfo_xl("transfo_xl_three_cutoffs", (9, 6), d_embed=14, cutoffs=[7, 12, 20], untie_r=True)
    t5("t5_odd", layer_norm_epsilon=1e-5, feed_forward_proj="relu")
    t5("t5_gated_untied", feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    t5_encoder("t5_encoder_odd", 41)
    targets = ["q", "k", "v", "o", "wi", "wo"]
    low_rank("lora_everywhere", dict(r=5, lora_alpha=2, target_modules=targets, use_rslora=True))
    gated = dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    low_rank("lora_gated", dict(r=2, lora_alpha=7, target_modules=["wi_0", "wo", "o"]), **gated)
    options = {"lr": 0.02, "betas": [0.7, 0.95], "eps": 1e-4, "weight_decay": 0.3}
    optimizer("adamw_other_betas", "adamw", torch.optim.AdamW, options)
    optimizer("adamw_warm_up", "adamw", torch.optim.AdamW, {"lr": 0.02}, warmup=3)
    optimizer("lamb_clamped", "lamb", torch_optimizer.Lamb, {"lr": 0.02, "clamp_value": 1.5, "debias": True})
    fixed = {"lr": 0.01, "relative_step": False, "scale_parameter": True, "weight_decay": 0.02}
    optimizer("adafactor_decay", "adafactor", Adafactor, fixed)
    convolution_head("convolution_head_odd", 17, 3, 9)


main()
