//! What models are trained on, counted: noise as published, XLNet's orders, ELECTRA's samples, and memories. Counts may be
//! four standard deviations from what is expected (`assert_share`).

mod common;

use std::collections::BTreeMap;

use common::noise::{assert_share, noise};
use common::run::{first_batch, preset};
use ribosome::data::Vocabulary;
use ribosome::graph::{Builder, DType, Graph, Key, Policy, Role, Shape, Tensor};
use ribosome::models::tokens::Tokens;
use ribosome::models::{Context, electra, xlnet};
use ribosome::train::objective::{
    Denoise, Draw, Given, MaskedLm, PermutationLm, ReplacedTokens, sample,
};
use ribosome::train::recipe::Recipe;

/// The seed and the step of all noise here but where another is asked for.
const AT: (u32, i32) = (9, 4);

/// Real rows of a recipe, as many as it takes to count each id.
fn rows_of(name: &str, rows: usize) -> (Recipe, Vocabulary, Vec<i32>) {
    let recipe = preset(name, &[("batch", &rows.to_string()), ("length", "256")]);
    let vocabulary = recipe.tokens().unwrap();
    let tokens = first_batch(&recipe).into_iter().collect();
    (recipe, vocabulary, tokens)
}

fn whole(values: &[f64]) -> Vec<i32> {
    values.iter().map(|value| *value as i32).collect()
}

/// How many of `items` are so.
fn count<T>(items: impl IntoIterator<Item = T>, so: impl Fn(&T) -> bool) -> usize {
    items.into_iter().filter(so).count()
}

/// `tokens` after [`Denoise::corrupt`].
fn denoised(objective: &Denoise, tokens: &[i32], at: (u32, i32)) -> Vec<i32> {
    let outputs = noise(tokens, 256, at, |tokens, key| {
        vec![("noised", objective.corrupt(tokens, key, 128))]
    });
    whole(&outputs["noised"])
}

/// ProtT5: 15 % of the residues, nine tenths of them the sentinel, a tenth any id from 3 to 127.
#[test]
fn denoising_is_as_published() {
    let (_, _, clean) = rows_of("prot-t5-tiny", 2000);
    let noised = denoised(&Denoise::default(), &clean, AT);
    let pairs = || clean.iter().copied().zip(noised.iter().copied());
    assert!(pairs().all(|(before, after)| before > 1 || before == after));
    let residues = count(pairs(), |(before, _)| *before > 1);
    let sentinels = count(pairs(), |(_, after)| *after == 127);
    let others = count(pairs(), |(before, after)| after != before && *after != 127);
    // Random ids are uniform over 125: one in 125 is the sentinel, and one in 125 is what stood there.
    let (density, random, ids) = (0.15, 0.1, 125.0);
    let sentinel = density * (1.0 - random + random / ids);
    assert_share("sentinels", sentinels, residues, sentinel);
    let other = density * random * (1.0 - 2.0 / ids);
    assert_share("other ids", others, residues, other);
    for id in 3..127 {
        let drawn = count(pairs(), |(before, after)| *before != id && *after == id);
        let elsewhere = residues - count(&clean, |before| **before == id);
        assert_share(
            &format!("id {id}"),
            drawn,
            elsewhere,
            density * random / ids,
        );
    }
    let silent = Denoise {
        noise_density: 0.0,
        ..Denoise::default()
    };
    assert_eq!(denoised(&silent, &clean, AT), clean);
}

/// `tokens` after [`MaskedLm::corrupt`], and which were chosen.
fn masked(
    objective: &MaskedLm,
    tokens: &[i32],
    vocabulary: &Vocabulary,
    at: (u32, i32),
) -> (Vec<i32>, Vec<bool>) {
    let outputs = noise(tokens, 256, at, |tokens, key| {
        let (noised, chosen) = objective.corrupt(tokens, key, vocabulary);
        vec![("noised", noised), ("chosen", chosen.cast(DType::S32))]
    });
    let chosen = outputs["chosen"].iter().map(|it| *it == 1.0).collect();
    (whole(&outputs["noised"]), chosen)
}

/// 15 % of the residues, and of those 80 % the mask, 10 % another token and 10 % as they were; the tokens around proteins and
/// the padding stay.
fn masking_is_as_published(name: &str) {
    let (recipe, vocabulary, clean) = rows_of(name, 800);
    let objective: &MaskedLm = recipe.objective.settings().unwrap();
    let (noised, chosen) = masked(objective, &clean, &vocabulary, AT);
    let residue = |id: i32| vocabulary.residue_ids().contains(&id);
    let all = || clean.iter().zip(&noised).zip(&chosen);
    for ((before, after), chosen) in all() {
        assert!(*chosen || before == after, "{before} became {after}");
        assert!(!chosen || residue(*before), "{before} was chosen");
    }
    let specials = count(&clean, |id| !residue(**id));
    assert!(specials > 1000, "{specials} tokens that are no residues");
    let residues = clean.len() - specials;
    let picked: Vec<(i32, i32)> = all()
        .filter_map(|((before, after), chosen)| chosen.then_some((*before, *after)))
        .collect();
    assert_share("chosen", picked.len(), residues, 0.15);
    let masks = count(&picked, |(_, after)| *after == vocabulary.mask);
    let kept = count(&picked, |(before, after)| before == after);
    // One random token in so many is the mask, and one is what stood there.
    let (again, drawn) = match objective.draw {
        Draw::OtherResidues => (0.0, vocabulary.written_ids()),
        Draw::Vocabulary => (0.1 / vocabulary.size() as f64, 0..vocabulary.size() as i32),
    };
    assert_share("masked", masks, picked.len(), 0.8 + again);
    assert_share("kept", kept, picked.len(), 0.1 + again);
    let changed: Vec<_> = (picked.iter())
        .filter(|(before, after)| before != after && *after != vocabulary.mask)
        .collect();
    assert!(changed.iter().all(|(_, after)| drawn.contains(after)));
    // Each id is as likely as any other that could be seen: not the mask, and not what stood there.
    let ids = drawn.len() - 1 - usize::from(drawn.contains(&vocabulary.mask));
    for id in drawn.filter(|id| *id != vocabulary.mask) {
        let drawn = count(&changed, |(_, after)| *after == id);
        let elsewhere = count(&changed, |(before, _)| *before != id);
        assert_share(&format!("id {id}"), drawn, elsewhere, 1.0 / ids as f64);
    }
}

#[test]
fn prot_bert_s_masking_is_as_published() {
    masking_is_as_published("prot-bert");
}

#[test]
fn prot_albert_s_masking_is_as_published() {
    masking_is_as_published("prot-albert");
}

#[test]
fn protein_lm_s_masking_is_as_published() {
    masking_is_as_published("protein-lm-200m");
}

/// ELECTRA's code: 15 % of the residues, of which 85 % become the mask and the others stay.
#[test]
fn electra_s_masking_is_as_published() {
    let (recipe, vocabulary, clean) = rows_of("prot-electra", 800);
    let objective: &ReplacedTokens = recipe.objective.settings().unwrap();
    let (noised, chosen) = masked(&objective.noise(), &clean, &vocabulary, AT);
    let residues = count(&clean, |id| vocabulary.residue_ids().contains(id));
    let masks = count(&noised, |id| **id == vocabulary.mask);
    let changed = count(clean.iter().zip(&noised), |(before, after)| before != after);
    let chosen = count(chosen, |chosen| *chosen);
    assert_share("chosen", chosen, residues, 0.25);
    assert_share("masked", masks, chosen, 0.85);
    assert_eq!(changed, masks);
}

/// Samples come as often as the exponentials of the logits say.
#[test]
fn samples_follow_the_generator() {
    let odds: Vec<i64> = vec![40, 25, 1, 10, 10, 5, 7, 2];
    for (temperature, dtype) in [(1.0, DType::F32), (2.0, DType::F32), (1.0, DType::BF16)] {
        let outputs = noise(&[0; 400 * 256], 256, AT, |tokens, key| {
            let builder = tokens.builder();
            let axes = [tokens.shape().axes, vec![("vocab", odds.len()).into()]].concat();
            let odds = builder.table("vocab", odds.clone()).cast(DType::F32);
            let logits = odds.log().broadcast(axes) / temperature;
            vec![("sample", sample(logits.cast(dtype), key))]
        });
        let drawn = &outputs["sample"];
        let weight = |odds: i64| {
            let logit = (odds as f64).ln() / temperature;
            match dtype {
                DType::BF16 => half::bf16::from_f64(logit).to_f64().exp(),
                _ => logit.exp(),
            }
        };
        let all: f64 = odds.iter().map(|odds| weight(*odds)).sum();
        for (id, odds) in odds.iter().enumerate() {
            let found = count(drawn, |drawn| **drawn == id as f64);
            let what = format!("id {id} at {temperature}");
            assert_share(&what, found, drawn.len(), weight(*odds) / all);
        }
    }
}

/// What `graph` gives for `tokens` with small weights, which depend on their names alone, and no memory.
fn evaluated(graph: Graph, tokens: &[i32]) -> BTreeMap<String, Vec<f64>> {
    let mut inputs = Vec::new();
    for (id, name, _) in graph.parameters() {
        let mut state = name.bytes().map(u64::from).sum();
        let mut weight = |_| 0.6 * common::next(&mut state) - 0.3;
        let elements = graph.root().shape(id).elements();
        let values = match name {
            "tokens" => tokens.iter().map(|id| f64::from(*id)).collect(),
            "memory" | "seed" | "step" => vec![0.0; elements],
            _ => (0..elements).map(&mut weight).collect(),
        };
        inputs.push((name.to_string(), values));
    }
    common::evaluate(graph, &inputs)
}

/// Records `tokens` as an input of `rows` rows, and the key of [`AT`].
fn given(builder: &Builder, tokens: usize, rows: usize) -> (Tensor<'_>, Key<'_>) {
    let axes = [("batch", rows), ("length", tokens / rows)];
    let tokens = builder.input("tokens", Role::Batch, Shape::new(DType::S32, axes));
    let seed = builder.constant(f64::from(AT.0), DType::U32);
    let step = builder.constant(f64::from(AT.1), DType::S32);
    (tokens, Key::of_step(seed, step))
}

/// The generator's mean cross-entropy over chosen tokens, and 50 times the discriminator's mean over all that is no padding of
/// whether the sampled token is another one than stood there: summed up here from the logits of both.
#[test]
fn electra_s_loss_is_that_of_both_networks() {
    const ROWS: usize = 24;
    let recipe = preset("prot-electra-tiny", &[("batch", "24"), ("length", "48")]);
    let vocabulary = &recipe.tokens().unwrap();
    let tokens: Vec<i32> = first_batch(&recipe).into_iter().collect();
    let objective: &ReplacedTokens = recipe.objective.settings().unwrap();
    let model: &electra::Config = recipe.model.config().unwrap();
    let builder = Builder::new();
    let (clean, key) = given(&builder, tokens.len(), ROWS);
    let cx = Context::new(&builder, Policy::F32);
    let (noised, chosen) = objective.noise().corrupt(clean, key, vocabulary);
    let rows = Tokens::padded(clean, vocabulary.pad);
    let guesses = model.generator_logits(
        cx,
        Tokens {
            ids: noised,
            ..rows
        },
    );
    // The step's scope, whose name is part of the key.
    let sampled = builder.scope("sample", || sample(guesses, key));
    let filled = chosen.select(sampled, clean);
    let scores = model.discriminator_logits(
        cx,
        Tokens {
            ids: filled,
            ..rows
        },
    );
    for (name, tensor) in [
        ("chosen", chosen.cast(DType::S32)),
        ("guesses", guesses),
        ("filled", filled),
        ("scores", scores),
    ] {
        builder.output(name, tensor);
    }
    let given = Given {
        tokens: clean,
        targets: None,
        memory: None,
        key,
        vocabulary,
    };
    let loss = recipe.objective.loss(cx, &recipe.model, given).unwrap();
    builder.output("loss", loss.sum / loss.count);
    for (name, sum, count) in loss.parts {
        builder.output(name, sum / count);
    }
    let parts = evaluated(builder.finish().unwrap(), &tokens);

    let vocab = parts["guesses"].len() / tokens.len();
    let (mut generator, mut places, mut discriminator, mut real) = (0.0, 0.0, 0.0, 0.0);
    let mut replaced = 0;
    for (at, id) in tokens.iter().enumerate() {
        if parts["chosen"][at] == 1.0 {
            let logits = &parts["guesses"][at * vocab..][..vocab];
            let all: f64 = logits.iter().map(|logit| logit.exp()).sum();
            generator += all.ln() - logits[*id as usize];
            places += 1.0;
        } else {
            assert_eq!(parts["filled"][at], f64::from(*id));
        }
        if *id != vocabulary.pad {
            let other = parts["filled"][at] != f64::from(*id);
            replaced += usize::from(other);
            let sign = if other { -1.0 } else { 1.0 };
            discriminator += (1.0 + (sign * parts["scores"][at]).exp()).ln();
            real += 1.0;
        }
    }
    assert!(0 < replaced && (replaced as f64) < places && places < real);
    let (generator, discriminator) = (generator / places, discriminator / real);
    for (name, expected) in [
        ("generator", generator),
        ("discriminator", discriminator),
        ("loss", generator + 50.0 * discriminator),
    ] {
        common::assert_close(name, &parts[name], &[expected], 1e-5);
    }
}

/// Rows of residues with a protein's end somewhere, and which positions are predicted.
struct Ordered {
    tokens: Vec<i32>,
    predicted: Vec<bool>,
    /// Whether a position (first) cannot see another.
    hidden: Vec<bool>,
    length: usize,
}

impl Ordered {
    /// The rows of the first batch of `recipe`, their predicted positions as the trainer draws them, and what is hidden.
    fn of(recipe: &Recipe, at: (u32, i32)) -> Self {
        let objective: &PermutationLm = recipe.objective.settings().unwrap();
        let vocabulary = &recipe.tokens().unwrap();
        let length = recipe.length;
        let tokens: Vec<i32> = first_batch(recipe).into_iter().collect();
        let spans = recipe.objective.spans().unwrap();
        let mut predicted = vec![false; tokens.len()];
        for (row, ids) in tokens.chunks(length).enumerate() {
            let residue = |id| vocabulary.residue_ids().contains(&id);
            for place in spans.draw(u64::from(at.0), at.1 as u64, row, ids, residue) {
                predicted[row * length + usize::try_from(place).expect("long rows")] = true;
            }
        }
        let model: &xlnet::Config = recipe.model.config().unwrap();
        let reused = model.reused(length);
        let hidden = hidden(
            objective,
            &tokens,
            &predicted,
            (length, reused),
            at,
            vocabulary,
        );
        Ordered {
            tokens,
            predicted,
            hidden,
            length,
        }
    }

    fn sees(&self, row: usize, from: usize, to: usize) -> bool {
        !self.hidden[(row * self.length + from) * self.length + to]
    }
}

/// [`PermutationLm::hidden`] for rows of `length`, of which the first `reused` tokens are remembered.
fn hidden(
    objective: &PermutationLm,
    tokens: &[i32],
    predicted: &[bool],
    (length, reused): (usize, usize),
    at: (u32, i32),
    vocabulary: &Vocabulary,
) -> Vec<bool> {
    // What is predicted comes as a number above all ids.
    const MARK: i32 = 1000;
    let marked = tokens.iter().zip(predicted);
    let marked: Vec<i32> = marked
        .map(|(id, predicted)| id + MARK * i32::from(*predicted))
        .collect();
    let outputs = noise(&marked, length, at, |marked, key| {
        let predicted = marked.ge(marked.constant(f64::from(MARK)));
        let tokens = marked.rem(marked.constant(f64::from(MARK)));
        let hidden = objective.hidden(tokens, predicted, reused, key, vocabulary);
        vec![("hidden", hidden.cast(DType::S32))]
    });
    outputs["hidden"].iter().map(|it| *it == 1.0).collect()
}

/// Of the official example for the large model: 85 of 512 tokens, a sixth, all of them residues.
#[test]
fn a_sixth_of_the_residues_is_predicted() {
    let recipe = preset("prot-xlnet", &[("batch", "64")]);
    let vocabulary = recipe.tokens().unwrap();
    let rows = Ordered::of(&recipe, AT);
    let ends = count(&rows.tokens, |id| vocabulary.suffix.contains(id));
    assert!(ends > 0, "rows hold the ends of proteins");
    let each = rows.tokens.iter().zip(&rows.predicted);
    for (row, part) in rows.predicted.chunks(512).enumerate() {
        assert_eq!(count(part, |it| **it), 85, "row {row}");
    }
    for (id, predicted) in each {
        assert!(!predicted || vocabulary.residue_ids().contains(id));
    }
}

/// Predicted tokens of a part stand in one order: of two, one sees the other, and how many each sees are 0, 1, 2, and so on,
/// which only a consistent order gives. Blocks follow one another. Tokens that are not predicted see no predicted one of
/// their part, the reused part sees nothing of the rest, and the rest sees all of it.
#[test]
fn predicted_tokens_see_those_before_them_in_one_order() {
    const REUSE: usize = 32;
    const BLOCK: usize = 16;
    let recipe = preset(
        "prot-xlnet-tiny",
        &[
            ("batch", "400"),
            ("length", "64"),
            ("model.reuse_len", "32"),
            ("objective.block", "16"),
            ("objective.predictions", "20"),
        ],
    );
    let vocabulary = recipe.tokens().unwrap();
    let rows = Ordered::of(&recipe, AT);
    let part = |at: usize| at / REUSE;
    let block = |at: usize| at % REUSE / BLOCK;
    let (mut pairs, mut ends) = (0, 0);
    for row in 0..recipe.batch {
        let predicted = |at: usize| rows.predicted[row * 64 + at];
        let end = |at: usize| vocabulary.suffix.contains(&rows.tokens[row * 64 + at]);
        let mut seen: Vec<Vec<usize>> = vec![Vec::new(); 2];
        for from in 0..64 {
            ends += usize::from(end(from));
            for to in 0..64 {
                let sees = rows.sees(row, from, to);
                let what = format!("row {row}: {from} sees {to}: {sees}");
                match part(from).cmp(&part(to)) {
                    std::cmp::Ordering::Less => assert!(!sees, "{what}"),
                    std::cmp::Ordering::Greater => assert!(sees, "{what}"),
                    // Its own content stays hidden from what is predicted.
                    std::cmp::Ordering::Equal if from == to => {
                        assert_eq!(sees, !predicted(from), "{what}");
                    }
                    std::cmp::Ordering::Equal => match (predicted(from), predicted(to)) {
                        (_, false) if !end(to) => assert!(sees, "{what}"),
                        (false, _) if !end(from) => assert!(!sees, "{what}"),
                        _ => {
                            assert_ne!(sees, rows.sees(row, to, from), "{what}");
                            if block(from) != block(to) {
                                assert_eq!(sees, block(from) > block(to), "{what}");
                            }
                            pairs += 1;
                        }
                    },
                }
            }
            if predicted(from) || end(from) {
                let same = (0..64).filter(|to| part(*to) == part(from) && *to != from);
                let ordered = same.filter(|to| predicted(*to) || end(*to));
                seen[part(from)].push(count(ordered, |to| rows.sees(row, from, *to)));
            }
        }
        for counts in &mut seen {
            counts.sort_unstable();
            assert!(counts.iter().copied().eq(0..counts.len()), "{counts:?}");
        }
    }
    assert!(ends > 0 && pairs > 10_000, "{ends} {pairs}");
}

/// In a row of two predicted tokens each comes first as often as the other.
#[test]
fn orders_are_fair() {
    let recipe = preset("prot-xlnet-tiny", &[]);
    let objective: &PermutationLm = recipe.objective.settings().unwrap();
    let vocabulary = &recipe.tokens().unwrap();
    let residue = vocabulary.residue_ids().start;
    let (tokens, predicted) = (vec![residue; 20_000], vec![true; 20_000]);
    let hidden = hidden(objective, &tokens, &predicted, (2, 2), AT, vocabulary);
    // A row's four pairs: the first of the first, the second of the first, and so on.
    let forwards = count(hidden.chunks(4), |row| row[1]);
    assert_share("first before second", forwards, 10_000, 0.5);
    assert!(
        hidden
            .chunks(4)
            .all(|row| row[0] && row[3] && row[1] != row[2])
    );
}

/// Two segments, the second with the memory of the first, lose what one row of both loses: every token but a row's first is
/// predicted, from all before it. Both see as many zeros in front.
#[test]
fn a_memory_is_a_longer_row() {
    const ROWS: usize = 3;
    const SEGMENT: usize = 8;
    let changes = [("batch", "3"), ("length", "16"), ("model.mem_len", "12")];
    let recipe = preset("prot-txl-tiny", &changes);
    let vocabulary = &recipe.tokens().unwrap();
    let tokens: Vec<i32> = first_batch(&recipe).into_iter().collect();
    let builder = Builder::new();
    let (row, key) = given(&builder, tokens.len(), ROWS);
    assert_eq!(row.size("length"), 2 * SEGMENT + 1);
    let shape = recipe.model.memory(ROWS, DType::F32).unwrap();
    let memory = builder.input("memory", Role::Memory, shape);
    let loss = |tokens, memory| {
        let given = Given {
            tokens,
            targets: None,
            memory: Some(memory),
            key,
            vocabulary,
        };
        let cx = Context::new(&builder, Policy::F32);
        recipe.objective.loss(cx, &recipe.model, given).unwrap()
    };
    // Of 12 remembered positions 8 are the first segment, so that 4 zeros are left.
    let zeros = memory.slice("memory", 0, 12 - SEGMENT);
    let together = loss(row, zeros);
    let first = loss(row.slice("length", 0, SEGMENT + 1), zeros);
    let carried = first.memory.unwrap();
    let rest = row.slice("length", SEGMENT, 2 * SEGMENT + 1);
    let (second, forgetful) = (loss(rest, carried), loss(rest, memory));
    for (name, tensor) in [
        ("together", together.sum),
        ("apart", first.sum + second.sum),
        ("forgetful", first.sum + forgetful.sum),
        ("predictions", together.count),
    ] {
        builder.output(name, tensor);
    }
    let found = evaluated(builder.finish().unwrap(), &tokens);
    assert_eq!(found["predictions"], [(ROWS * 2 * SEGMENT) as f64]);
    common::assert_close("the loss", &found["apart"], &found["together"], 1e-5);
    let without = found["forgetful"][0] / found["together"][0] - 1.0;
    assert!(without.abs() > 1e-4, "the memory changes {without}");
}

/// The same seed and step give the same noise, and another seed, step or microbatch another.
#[test]
fn noise_depends_on_seed_step_and_microbatch() {
    let (recipe, vocabulary, clean) = rows_of("prot-bert-tiny", 800);
    let objective: &MaskedLm = recipe.objective.settings().unwrap();
    let masked = |at| masked(objective, &clean, &vocabulary, at);
    let (noised, chosen) = masked(AT);
    assert_eq!(masked(AT), (noised, chosen.clone()));
    let residues = count(&clean, |id| vocabulary.residue_ids().contains(id));
    for at in [
        (AT.0, AT.1 + 1),
        (AT.0 + 1, AT.1),
        (AT.1 as u32, AT.0 as i32),
    ] {
        let (_, others) = masked(at);
        let both = count(chosen.iter().zip(&others), |(one, other)| **one && **other);
        assert_share(&format!("{at:?} too"), both, residues, 0.15 * 0.15);
    }
    let order = |at| Ordered::of(&preset("prot-xlnet-tiny", &[]), at).hidden;
    assert_eq!(order(AT), order(AT));
    assert_ne!(order(AT), order((AT.0, AT.1 + 1)));
    assert_ne!(order(AT), order((AT.0 + 1, AT.1)));

    // Microbatches of one and the same row: with the same noise two would lose what four lose.
    let mean = |parts: usize| {
        let (batch, parts) = (parts.to_string(), parts.to_string());
        let changes = [("batch", batch.as_str()), ("microbatches", &parts)];
        let recipe = preset("prot-bert-tiny", &changes);
        let graph = recipe.step().unwrap().build().unwrap().graph.into_graph();
        let row = &first_batch(&recipe).row(0).to_vec();
        let outputs = evaluated(graph, &row.repeat(recipe.batch));
        outputs["loss"][0]
    };
    let (two, four) = (mean(2), mean(4));
    assert!((two / four - 1.0).abs() > 1e-3, "{two} {four}");
}
