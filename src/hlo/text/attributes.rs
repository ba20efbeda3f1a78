//! What follows an instruction's operands: `dimensions={1}, to_apply=%add, metadata={op_name="encoder/mean"}`.
//!
//! Attributes come in a fixed order: those of the opcode, callees, placement, frontend attributes, control
//! dependencies, metadata, backend configuration. One that has its default value is left out.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::super::module::{Instruction, Metadata};
use super::super::proto::*;
use super::{ComputationNames, braces, join, numbers, placement, quoted, reference, shape, window};

/// Every attribute of `instruction`, as `name=value`.
pub(super) fn attributes(
    instruction: &Instruction,
    by_id: &BTreeMap<i64, &Instruction>,
    names: &ComputationNames,
) -> Vec<String> {
    let mut list = List::default();
    dimensions(&mut list, instruction);
    dots_and_windows(&mut list, instruction);
    gathers_and_scatters(&mut list, instruction);
    by_opcode(&mut list, instruction, by_id);
    collectives(&mut list, instruction);
    custom_calls(&mut list, instruction);
    callees(&mut list, instruction, by_id, names);
    common(&mut list, instruction, by_id);
    list.0
}

/// `frontend_attributes={name="value",...}`; `None` if there are none.
pub(super) fn frontend(attributes: &FrontendAttributes) -> Option<String> {
    if attributes.map.is_empty() {
        return None;
    }
    let pairs: Vec<String> = attributes
        .map
        .iter()
        .map(|(name, value)| format!("{name}={}", quoted(value.as_bytes())))
        .collect();
    Some(format!("frontend_attributes={{{}}}", pairs.join(",")))
}

/// Attributes collected so far.
#[derive(Default)]
struct List(Vec<String>);

impl List {
    fn push(&mut self, name: &str, value: impl Display) {
        self.0.push(format!("{name}={value}"));
    }

    fn push_if(&mut self, condition: bool, name: &str, value: impl Display) {
        if condition {
            self.push(name, value);
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.push_if(value, name, true);
    }

    fn numbers(&mut self, name: &str, values: &[i64]) {
        self.push_if(!values.is_empty(), name, braces(values));
    }
}

/// Dimensions and bounds of ops that move or reduce data.
fn dimensions(list: &mut List, instruction: &Instruction) {
    let dimensions = instruction.dimensions();
    match instruction.opcode.as_str() {
        "iota" => list.push("iota_dimension", numbers(dimensions, ",")),
        "broadcast" | "reduce" | "transpose" | "reverse" | "concatenate" | "sort" | "map" => {
            list.push("dimensions", braces(dimensions));
        }
        _ => list.numbers("dimensions", dimensions),
    }
    if instruction.opcode == "slice" {
        let bounds = instruction.slice_dimensions().iter().map(|slice| {
            let stride = match slice.stride {
                1 => String::new(),
                stride => format!(":{stride}"),
            };
            format!("[{}:{}{stride}]", slice.start, slice.limit)
        });
        list.push("slice", format!("{{{}}}", join(bounds)));
    }
    list.numbers("dynamic_slice_sizes", instruction.dynamic_slice_sizes());
    if let Some(padding) = instruction.padding_config() {
        list.push("padding", window::padding(padding));
    }
    list.flag("is_stable", instruction.is_stable());
}

fn dots_and_windows(list: &mut List, instruction: &Instruction) {
    if let Some(window) = instruction.window()
        && !window.dimensions.is_empty()
    {
        list.push("window", window::window(window));
    }
    if let Some(numbers) = instruction.convolution_dimension_numbers() {
        list.push("dim_labels", window::dim_labels(numbers));
    }
    for (name, count) in [
        ("feature_group_count", instruction.feature_group_count()),
        ("batch_group_count", instruction.batch_group_count()),
    ] {
        list.push_if(count > 1, name, count);
    }
    if let Some(numbers) = instruction.dot_dimension_numbers() {
        list.numbers("lhs_batch_dims", &numbers.lhs_batch_dimensions);
        list.numbers("lhs_contracting_dims", &numbers.lhs_contracting_dimensions);
        list.numbers("rhs_batch_dims", &numbers.rhs_batch_dimensions);
        list.numbers("rhs_contracting_dims", &numbers.rhs_contracting_dimensions);
    }
    if let Some(precision) = instruction.precision_config() {
        // A precision of 0 is the default one.
        if precision.operand_precision.iter().any(|&p| p != 0) {
            let names: Vec<String> = precision
                .operand_precision()
                .map(|p| format!("{p:?}").to_ascii_lowercase())
                .collect();
            list.push("operand_precision", format!("{{{}}}", names.join(",")));
        }
        list.push_if(
            precision.algorithm != 0,
            "algorithm",
            named(&DOT_ALGORITHMS, precision.algorithm),
        );
    }
}

fn gathers_and_scatters(list: &mut List, instruction: &Instruction) {
    if let Some(numbers) = instruction.gather_dimension_numbers() {
        list.push("offset_dims", braces(&numbers.offset_dims));
        list.push(
            "collapsed_slice_dims",
            braces(&numbers.collapsed_slice_dims),
        );
        list.push("start_index_map", braces(&numbers.start_index_map));
        list.numbers("operand_batching_dims", &numbers.operand_batching_dims);
        list.numbers(
            "start_indices_batching_dims",
            &numbers.start_indices_batching_dims,
        );
        list.push("index_vector_dim", numbers.index_vector_dim);
        list.push("slice_sizes", braces(instruction.gather_slice_sizes()));
    }
    if let Some(numbers) = instruction.scatter_dimension_numbers() {
        list.push("update_window_dims", braces(&numbers.update_window_dims));
        list.push(
            "inserted_window_dims",
            braces(&numbers.inserted_window_dims),
        );
        list.push(
            "scatter_dims_to_operand_dims",
            braces(&numbers.scatter_dims_to_operand_dims),
        );
        list.numbers("input_batching_dims", &numbers.input_batching_dims);
        list.numbers(
            "scatter_indices_batching_dims",
            &numbers.scatter_indices_batching_dims,
        );
        list.push("index_vector_dim", numbers.index_vector_dim);
    }
    list.flag("indices_are_sorted", instruction.indices_are_sorted());
    list.flag("unique_indices", instruction.unique_indices());
}

/// Attributes of single opcodes, or of a few similar ones.
fn by_opcode(list: &mut List, instruction: &Instruction, by_id: &BTreeMap<i64, &Instruction>) {
    match instruction.opcode.as_str() {
        "get-tuple-element" => list.push("index", instruction.tuple_index()),
        "parameter" => {
            if let Some(replication) = instruction.parameter_replication() {
                let leaves: Vec<String> = replication
                    .replicated_at_leaf_buffers
                    .iter()
                    .map(bool::to_string)
                    .collect();
                let leaves = format!("{{{}}}", leaves.join(","));
                list.push_if(leaves != "{}", "parameter_replication", leaves);
            }
        }
        "compare" => {
            list.push("direction", instruction.comparison_direction());
            let usual = usual_comparison(operand_type(instruction, by_id));
            let kind = match instruction.comparison_type() {
                // Newer XLA uses `TOTAL` or `PARTIAL` instead; `TOTAL` is the default except for floats.
                "" if instruction.comparison_order() == "TOTAL" && usual == "FLOAT" => "TOTALORDER",
                "" => usual,
                kind => kind,
            };
            list.push_if(kind != usual, "type", kind);
        }
        "topk" => {
            list.push("k", instruction.k());
            list.push("largest", instruction.largest());
        }
        "fft" => {
            let kind = ["FFT", "IFFT", "RFFT", "IRFFT"];
            list.push("fft_type", named(&kind, instruction.fft_type()));
            list.push("fft_length", braces(instruction.fft_length()));
        }
        "rng" => {
            let kind = ["rng_invalid", "rng_uniform", "rng_normal"];
            list.push("distribution", named(&kind, instruction.distribution()));
        }
        "rng-bit-generator" => {
            let kind = ["rng_default", "rng_three_fry", "rng_philox"];
            list.push("algorithm", named(&kind, instruction.rng_algorithm()));
        }
        "rng-get-and-update-state" => list.push("delta", instruction.delta()),
        "reduce-precision" => {
            list.push("exponent_bits", instruction.exponent_bits());
            list.push("mantissa_bits", instruction.mantissa_bits());
        }
        "batch-norm-training" | "batch-norm-inference" | "batch-norm-grad" => {
            list.push("epsilon", instruction.epsilon());
            list.push("feature_index", instruction.feature_index());
        }
        "fusion" => list.push("kind", instruction.fusion_kind()),
        "scan" => {
            list.push("is_reverse", instruction.is_reverse());
            list.push("num_carries", instruction.num_carries());
            list.push_if(
                instruction.is_associative() != 0,
                "is_associative",
                instruction.is_associative() == 1,
            );
        }
        "infeed" if !instruction.infeed_config().is_empty() => {
            list.push("infeed_config", quoted(instruction.infeed_config()));
        }
        "outfeed" => {
            if let Some(fed) = instruction.outfeed_shape() {
                list.push("outfeed_shape", shape::shape(fed));
            }
            let config = instruction.outfeed_config();
            list.push_if(!config.is_empty(), "outfeed_config", quoted(config));
        }
        "domain" => {
            let text = |side: Option<&OpSharding>| {
                let side = side.map(placement::sharding);
                side.unwrap_or_else(|| "{replicated}".into())
            };
            let entry = text(instruction.domain_entry_sharding());
            let exit = text(instruction.domain_exit_sharding());
            let both = format!("{{kind=\"sharding\", entry={entry}, exit={exit}}}");
            list.push("domain", both);
        }
        _ => {}
    }
    if let Some(options) = instruction.triangular_solve_options() {
        let transpose = ["INVALID", "NO_TRANSPOSE", "TRANSPOSE", "ADJOINT"];
        list.flag("left_side", options.left_side);
        list.flag("lower", options.lower);
        list.flag("unit_diagonal", options.unit_diagonal);
        list.push("transpose_a", named(&transpose, options.transpose_a));
    }
    if let Some(options) = instruction.cholesky_options() {
        list.flag("lower", options.lower);
    }
    if let Some(accuracy) = instruction.result_accuracy() {
        if let Some(tolerance) = &accuracy.tolerance {
            let (atol, rtol, ulps) = (tolerance.atol, tolerance.rtol, tolerance.ulps);
            let bounds = format!("{{tolerance={{atol={atol:?},rtol={rtol:?},ulps={ulps}}}}}");
            list.push("result_accuracy", bounds);
        } else if accuracy.mode == Some(1) {
            list.push("result_accuracy", "{mode=highest}");
        }
    }
}

fn collectives(list: &mut List, instruction: &Instruction) {
    list.push_if(
        instruction.channel_id() > 0,
        "channel_id",
        instruction.channel_id(),
    );
    let groups = placement::replica_groups(instruction);
    let opcode = instruction.opcode.as_str();
    let grouped = [
        "all-",
        "reduce-scatter",
        "ragged-all-to-all",
        "collective-broadcast",
    ];
    let always = grouped.iter().any(|name| opcode.starts_with(name)) && !opcode.ends_with("-done");
    list.push_if(always || groups != "{}", "replica_groups", groups);
    if !instruction.source_target_pairs().is_empty() {
        let pairs: Vec<String> = instruction
            .source_target_pairs()
            .iter()
            .map(|pair| format!("{{{},{}}}", pair.source, pair.target))
            .collect();
        list.push("source_target_pairs", format!("{{{}}}", pairs.join(",")));
    }
    list.flag("use_global_device_ids", instruction.use_global_device_ids());
    list.flag("is_host_transfer", instruction.is_host_transfer());
    if let Some(index) = instruction.cross_program_prefetch_index() {
        list.push("cross_program_prefetch_index", index);
    }
    let thread = instruction.async_execution_thread();
    list.push_if(
        !matches!(thread, "" | "main"),
        "async_execution_thread",
        quoted(thread.as_bytes()),
    );
}

fn custom_calls(list: &mut List, instruction: &Instruction) {
    if instruction.opcode != "custom-call" {
        list.flag("constrain_layout", instruction.constrain_layout());
    } else {
        let target = instruction.custom_call_target().as_bytes();
        list.push("custom_call_target", quoted(target));
        list.flag(
            "custom_call_has_side_effect",
            instruction.custom_call_has_side_effect(),
        );
        if instruction.constrain_layout() {
            let shapes = instruction.operand_shapes_with_layout().iter();
            let shapes = join(shapes.map(shape::shape));
            list.push("operand_layout_constraints", format!("{{{shapes}}}"));
        }
        let kind = named(&SCHEDULES, instruction.custom_call_schedule());
        list.push_if(instruction.custom_call_schedule() != 0, "schedule", kind);
        // API_VERSION_ORIGINAL, the default, is 1.
        let version = instruction.custom_call_api_version();
        list.push_if(version > 1, "api_version", named(&API_VERSIONS, version));
    }
    if !instruction.output_operand_aliasing().is_empty() {
        let pairs = instruction.output_operand_aliasing().iter().map(|pair| {
            format!(
                "{}: ({}, {})",
                braces(&pair.output_shape_index),
                pair.operand_index,
                braces(&pair.operand_shape_index)
            )
        });
        list.push("output_to_operand_aliasing", format!("{{{}}}", join(pairs)));
    }
}

/// The computations that an instruction calls, by the names that its opcode has for them.
fn callees(
    list: &mut List,
    instruction: &Instruction,
    by_id: &BTreeMap<i64, &Instruction>,
    names: &ComputationNames,
) {
    let called: Vec<String> = instruction
        .called_computation_ids()
        .iter()
        .map(|id| match names.get(id) {
            Some(name) => format!("%{name}"),
            None => format!("%<missing {id}>"),
        })
        .collect();
    match (instruction.opcode.as_str(), called.as_slice()) {
        (_, []) => {}
        ("while", [body, condition]) => {
            list.push("condition", condition);
            list.push("body", body);
        }
        ("select-and-scatter", [select, scatter]) => {
            list.push("select", select);
            list.push("scatter", scatter);
        }
        ("conditional", [yes, no])
            if operand_type(instruction, by_id) == Some(PrimitiveType::Pred) =>
        {
            list.push("true_computation", yes);
            list.push("false_computation", no);
        }
        ("conditional", all) => {
            list.push("branch_computations", format!("{{{}}}", all.join(", ")));
        }
        ("custom-call", all) => {
            list.push("called_computations", format!("{{{}}}", all.join(", ")));
        }
        ("fusion" | "async-start" | "async-update" | "async-done", [callee]) => {
            list.push("calls", callee);
        }
        (_, [callee]) => list.push("to_apply", callee),
        (_, all) => list.push("called_computations", format!("{{{}}}", all.join(", "))),
    }
    list.flag("is_composite", instruction.is_composite());
}

/// Attributes that every instruction may have.
fn common(list: &mut List, instruction: &Instruction, by_id: &BTreeMap<i64, &Instruction>) {
    if let Some(sharding) = &instruction.sharding {
        list.push("sharding", placement::sharding(sharding));
    }
    list.0.extend(
        instruction
            .frontend_attributes
            .as_ref()
            .and_then(|it| frontend(it)),
    );
    if !instruction.control_predecessor_ids().is_empty() {
        let ids = instruction.control_predecessor_ids().iter();
        let names = join(ids.map(|id| reference(by_id, *id)));
        list.push("control-predecessors", format!("{{{names}}}"));
    }
    if let Some(metadata) = &instruction.metadata {
        let text = self::metadata(metadata);
        list.push_if(!text.is_empty(), "metadata", format!("{{{text}}}"));
    }
    let config = instruction.backend_config();
    if !config.is_empty() {
        // A JSON object is printed as it is; anything else is quoted, since its braces could end the instruction.
        let object = serde_json::from_slice::<serde_json::Map<_, _>>(config);
        let text = match (object, std::str::from_utf8(config)) {
            (Ok(_), Ok(text)) if !text.contains('\n') => text.into(),
            _ => quoted(config),
        };
        list.push("backend_config", text);
    }
}

fn metadata(metadata: &Metadata) -> String {
    let mut parts = Vec::new();
    let none = OpMetadata::default();
    let more = metadata.more.as_deref().unwrap_or(&none);
    for (name, value) in [
        ("op_type", more.op_type.as_str()),
        ("op_name", metadata.op_name.as_str()),
        ("source_file", &more.source_file),
        ("deduplicated_name", &more.deduplicated_name),
        ("scheduling_name", &more.scheduling_name),
    ] {
        if !value.is_empty() {
            parts.push(format!("{name}={}", quoted(value.as_bytes())));
        }
    }
    if more.source_line != 0 {
        parts.push(format!("source_line={}", more.source_line));
    }
    parts.join(" ")
}

/// The element type of the first operand.
fn operand_type(
    instruction: &Instruction,
    by_id: &BTreeMap<i64, &Instruction>,
) -> Option<PrimitiveType> {
    let operand = by_id.get(instruction.operand_ids.first()?)?;
    Some(operand.shape.as_ref()?.element_type())
}

/// The default order of a comparison of elements of this type.
fn usual_comparison(element: Option<PrimitiveType>) -> &'static str {
    use PrimitiveType as P;
    match element {
        Some(P::S1 | P::S2 | P::S4 | P::S8 | P::S16 | P::S32 | P::S64) => "SIGNED",
        Some(P::Pred | P::U1 | P::U2 | P::U4 | P::U8 | P::U16 | P::U32 | P::U64) => "UNSIGNED",
        _ => "FLOAT",
    }
}

/// The name of an enum's value, or one that no parser takes.
fn named<'a>(names: &[&'a str], value: impl Into<i64>) -> &'a str {
    let index = usize::try_from(value.into()).unwrap_or(usize::MAX);
    names.get(index).copied().unwrap_or("<unknown>")
}

/// xla::CustomCallSchedule.
const SCHEDULES: [&str; 3] = ["SCHEDULE_NONE", "SCHEDULE_LATEST", "SCHEDULE_EARLIEST"];

/// xla::CustomCallApiVersion.
const API_VERSIONS: [&str; 5] = [
    "API_VERSION_UNSPECIFIED",
    "API_VERSION_ORIGINAL",
    "API_VERSION_STATUS_RETURNING",
    "API_VERSION_STATUS_RETURNING_UNIFIED",
    "API_VERSION_TYPED_FFI",
];

/// xla::PrecisionConfig::Algorithm.
const DOT_ALGORITHMS: [&str; 14] = [
    "unset",
    "dot_any_f8_any_f8_f32",
    "dot_any_f8_any_f8_f32_fast_accum",
    "dot_f16_f16_f16",
    "dot_f16_f16_f32",
    "dot_bf16_bf16_bf16",
    "dot_bf16_bf16_f32",
    "dot_bf16_bf16_f32_x3",
    "dot_bf16_bf16_f32_x6",
    "dot_tf32_tf32_f32",
    "dot_tf32_tf32_f32_x3",
    "dot_f32_f32_f32",
    "dot_f64_f64_f64",
    "dot_bf16_bf16_f32_x9",
];
