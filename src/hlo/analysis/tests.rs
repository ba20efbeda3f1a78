//! Small modules built by hand. Real ones were checked against figures known for libtpu 0.0.51.

use std::sync::Arc;

use super::*;
use crate::hlo::attribute::Attribute;
use crate::hlo::module::Metadata;
use crate::hlo::proto::*;

fn array(element: PrimitiveType, dimensions: &[i64]) -> ShapeProto {
    ShapeProto {
        element_type: element as i32,
        dimensions: dimensions.to_vec(),
        ..Default::default()
    }
}

fn f32s(dimensions: &[i64]) -> ShapeProto {
    array(PrimitiveType::F32, dimensions)
}

fn number() -> ShapeProto {
    array(PrimitiveType::S32, &[])
}

fn op(id: i64, opcode: &str, shape: ShapeProto, operands: &[i64]) -> Instruction {
    Instruction::new(
        id,
        format!("{opcode}.{id}"),
        opcode,
        Arc::new(shape),
        operands,
    )
}

fn constant(id: i64, value: i32) -> Instruction {
    let literal = LiteralProto {
        shape: Some(number()),
        s32s: vec![value],
        ..Default::default()
    };
    op(id, "constant", number(), &[]).with(Attribute::Literal(Arc::new(literal)))
}

fn element(id: i64, of: i64, index: i64) -> Instruction {
    op(id, "get-tuple-element", number(), &[of]).with(Attribute::TupleIndex(index))
}

fn compare(id: i64, direction: &str, operands: &[i64]) -> Instruction {
    op(id, "compare", array(PrimitiveType::Pred, &[]), operands)
        .with(Attribute::ComparisonDirection(direction.into()))
}

fn calling(instruction: Instruction, callees: &[i64]) -> Instruction {
    instruction.with(Attribute::CalledComputationIds(callees.to_vec()))
}

fn costing(instruction: Instruction, config: &str) -> Instruction {
    instruction.with(Attribute::BackendConfig(config.as_bytes().to_vec()))
}

/// A computation; its last instruction is its root.
fn computation(id: i64, instructions: Vec<Instruction>) -> Computation {
    Computation {
        id,
        name: format!("computation.{id}").into(),
        root_id: instructions.last().map_or(0, |last| last.id),
        instructions,
        ..Default::default()
    }
}

/// A module whose entry is computation 0.
fn module(computations: Vec<Computation>) -> Module {
    Module {
        computations,
        ..Default::default()
    }
}

fn mesh() -> Vec<(String, usize)> {
    vec![("data".into(), 4), ("model".into(), 2)]
}

/// A loop from `start` by `step` while `counter DIRECTION end`, whose body costs 7 cycles and calls computation 9.
fn counting(start: i32, step: i32, direction: &str, end: i32) -> Vec<Computation> {
    let tuple = || op(1, "parameter", ShapeProto::default(), &[]);
    let body = computation(
        1,
        vec![
            tuple(),
            element(2, 1, 0),
            constant(3, step),
            costing(op(4, "add", number(), &[2, 3]), r#"{"estimated_cycles":7}"#),
            calling(op(5, "call", number(), &[]), &[9]),
            op(6, "tuple", ShapeProto::default(), &[4, 5]),
        ],
    );
    // The comparison is in a fusion and its constant outside, as compilers often arrange it.
    let fused = computation(
        2,
        vec![
            op(1, "parameter", number(), &[]),
            op(2, "parameter", number(), &[]).with(Attribute::ParameterNumber(1)),
            compare(3, direction, &[1, 2]),
        ],
    );
    let condition = computation(
        3,
        vec![
            tuple(),
            element(2, 1, 0),
            constant(3, end),
            calling(op(4, "fusion", number(), &[2, 3]), &[2]),
        ],
    );
    let entry = computation(
        0,
        vec![
            constant(1, start),
            op(2, "copy", number(), &[1]),
            op(3, "tuple", ShapeProto::default(), &[2, 2]),
            calling(op(4, "while", ShapeProto::default(), &[3]), &[1, 3]),
        ],
    );
    vec![body, fused, condition, entry]
}

/// The computation that the loop's body calls.
fn called(instructions: Vec<Instruction>) -> Computation {
    computation(9, instructions)
}

#[test]
fn loops_are_multiplied_by_their_trip_counts() {
    for (start, step, direction, end, trips) in [
        (0, 1, "LT", 24, 24.0),
        (3, 2, "LT", 10, 4.0),
        (1, 1, "LE", 12, 12.0),
        (23, -1, "GE", 0, 24.0),
        (0, 5, "NE", 20, 4.0),
        (5, 1, "LT", 5, 0.0),
    ] {
        let mut computations = counting(start, step, direction, end);
        computations.push(called(vec![constant(1, 0)]));
        let analysis = analyse(&module(computations), &mesh());
        assert_eq!(
            analysis.cycles,
            7.0 * trips,
            "{start} {step} {direction} {end}"
        );
        assert_eq!(analysis.unknown_trips, Vec::<String>::new());
    }
}

#[test]
fn a_loop_that_depends_on_data_is_counted_once_and_named() {
    let mut computations = counting(0, 1, "LT", 24);
    computations[3].instructions[0] = op(1, "parameter", number(), &[]);
    computations.push(called(vec![constant(1, 0)]));
    let analysis = analyse(&module(computations), &mesh());
    assert_eq!(analysis.unknown_trips, ["while.4"]);
    assert_eq!(analysis.cycles, 7.0);
}

#[test]
fn a_loop_that_never_ends_is_not_followed_for_ever() {
    let mut computations = counting(0, 0, "LT", 24);
    computations.push(called(vec![constant(1, 0)]));
    let analysis = analyse(&module(computations), &mesh());
    assert_eq!(analysis.unknown_trips, ["while.4"]);
}

/// Computation 1 calls itself, and its condition's constant is its own operand.
#[test]
fn a_module_that_runs_in_circles_ends() {
    let mut computations = counting(0, 1, "LT", 24);
    computations[2].instructions[2] = op(3, "copy", number(), &[3]);
    computations.push(called(vec![calling(op(1, "call", number(), &[]), &[1])]));
    let analysis = analyse(&module(computations), &mesh());
    assert_eq!(analysis.unknown_trips, ["while.4"]);
}

#[test]
fn a_trip_count_that_the_backend_gives_is_taken() {
    let mut computations = counting(0, 1, "LT", 24);
    computations[3].instructions[0] = op(1, "parameter", number(), &[]);
    let config = br#"{"known_trip_count":{"n":"6"}}"#;
    computations[3].instructions[3].set(Attribute::BackendConfig(config.to_vec()));
    computations.push(called(vec![constant(1, 0)]));
    assert_eq!(analyse(&module(computations), &mesh()).cycles, 42.0);
}

#[test]
fn reshapes_without_an_estimate_are_told_apart() {
    let estimated = r#"{"estimated_cycles":"5"}"#;
    let mut computations = counting(0, 1, "LT", 24);
    computations.push(called(vec![
        op(1, "reshape", f32s(&[3, 5]), &[]),
        costing(op(2, "reshape", f32s(&[3, 5]), &[]), estimated),
        op(3, "bitcast", f32s(&[3, 5]), &[]),
        calling(op(4, "fusion", f32s(&[15]), &[]), &[10]),
    ]));
    computations.push(computation(10, vec![op(1, "reshape", f32s(&[15]), &[])]));
    let analysis = analyse(&module(computations), &mesh());
    assert_eq!(analysis.reshaped, 24 * 15 * 4);
    assert_eq!(analysis.cycles, 24.0 * (7.0 + 5.0));
}

#[test]
fn a_fusion_s_own_estimate_covers_what_is_in_it() {
    let inner = |config: &str| {
        let fusion = op(1, "fusion", number(), &[]);
        let fused = costing(
            constant(1, 0),
            r#"{"window_config":{"estimated_cycles":"5"}}"#,
        );
        module(vec![
            computation(0, vec![costing(calling(fusion, &[1]), config)]),
            computation(1, vec![fused]),
        ])
    };
    assert_eq!(
        analyse(&inner(r#"{"estimated_cycles":"11"}"#), &mesh()).cycles,
        11.0
    );
    assert_eq!(analyse(&inner(""), &mesh()).cycles, 5.0);
    let none = r#"{"estimated_cycles":"9223372036854775807"}"#;
    assert_eq!(analyse(&inner(none), &mesh()).cycles, 5.0);
}

#[test]
fn dots_count_two_for_each_product() {
    let numbers = DotDimensionNumbers {
        lhs_contracting_dimensions: vec![2],
        rhs_contracting_dimensions: vec![1],
        lhs_batch_dimensions: vec![0],
        rhs_batch_dimensions: vec![0],
    };
    let dot = op(3, "dot", f32s(&[8, 16, 4]), &[1, 2])
        .with(Attribute::DotDimensionNumbers(Box::new(numbers)));
    let dots = vec![
        op(1, "parameter", f32s(&[8, 16, 32]), &[]),
        op(2, "parameter", f32s(&[8, 32, 4]), &[]),
        dot,
    ];
    let mut computations = counting(0, 1, "LT", 3);
    computations.push(called(dots));
    let analysis = analyse(&module(computations), &mesh());
    assert_eq!(analysis.flops, 3.0 * 2.0 * (8 * 16 * 4 * 32) as f64);
}

/// A one-dimensional convolution of an input of `size` elements with 3 features to 5.
fn convolution(size: i64, output: i64, window: WindowDimension) -> f64 {
    let numbers = ConvolutionDimensionNumbers {
        input_batch_dimension: 0,
        input_spatial_dimensions: vec![1],
        input_feature_dimension: 2,
        kernel_spatial_dimensions: vec![0],
        kernel_input_feature_dimension: 1,
        kernel_output_feature_dimension: 2,
        output_batch_dimension: 0,
        output_spatial_dimensions: vec![1],
        output_feature_dimension: 2,
    };
    let kernel = window.size;
    let window = Window {
        dimensions: vec![window],
    };
    let instruction = op(3, "convolution", f32s(&[2, output, 5]), &[1, 2])
        .with(Attribute::ConvolutionDimensionNumbers(Box::new(numbers)))
        .with(Attribute::Window(Box::new(window)));
    let entry = vec![
        op(1, "parameter", f32s(&[2, size, 3]), &[]),
        op(2, "parameter", f32s(&[kernel, 3, 5]), &[]),
        instruction,
    ];
    analyse(&module(vec![computation(0, entry)]), &mesh()).flops
}

#[test]
fn convolutions_count_only_real_elements() {
    let products = 2.0 * (2 * 3 * 5) as f64;
    let plain = || WindowDimension {
        size: 3,
        stride: 1,
        window_dilation: 1,
        base_dilation: 1,
        ..Default::default()
    };
    assert_eq!(convolution(10, 8, plain()), products * 24.0);
    let padded = WindowDimension {
        padding_low: 1,
        padding_high: 1,
        ..plain()
    };
    assert_eq!(convolution(10, 10, padded), products * 28.0);
    // Outputs 0, 2, 4, 6 with kernels 0, 1, 2.
    let strided = WindowDimension {
        stride: 2,
        ..plain()
    };
    assert_eq!(convolution(10, 4, strided), products * 12.0);
    // The transposed form: positions 0, 2, .. 18 of 19 hold elements, 17 outputs see 3 positions each.
    let dilated = WindowDimension {
        base_dilation: 2,
        ..plain()
    };
    assert_eq!(convolution(10, 17, dilated), products * 26.0);
    // A batched product written as a convolution: each of 8 batch elements meets itself only.
    let batch = WindowDimension {
        size: 8,
        stride: 7,
        base_dilation: 8,
        ..plain()
    };
    assert_eq!(convolution(8, 8, batch), products * 8.0);
}

fn all_reduce(bytes: i64, groups: &[&[i64]], op_name: &str) -> Instruction {
    let groups = groups.iter().map(|ids| ReplicaGroup {
        replica_ids: ids.to_vec(),
    });
    let shape = array(PrimitiveType::U8, &[bytes]);
    let mut instruction =
        op(bytes, "all-reduce", shape, &[]).with(Attribute::ReplicaGroups(groups.collect()));
    instruction.metadata = Some(Metadata::of(op_name));
    instruction
}

#[test]
fn collectives_are_summed_by_axes_and_scope() {
    let model: &[&[i64]] = &[&[0, 1], &[2, 3], &[4, 5], &[6, 7]];
    let data: &[&[i64]] = &[&[0, 2, 4, 6], &[1, 3, 5, 7]];
    let both = ShapeProto {
        element_type: PrimitiveType::Tuple as i32,
        tuple_shapes: vec![f32s(&[10]), f32s(&[20])],
        ..Default::default()
    };
    let start = op(7, "all-gather-start", both, &[]);
    let mut computations = counting(0, 1, "LT", 3);
    computations.push(called(vec![
        all_reduce(100, model, "jit(step)/encoder/mlp/dot"),
        all_reduce(10, model, "encoder/mlp/add"),
        all_reduce(1000, data, "encoder/mlp/dot"),
        all_reduce(5, &[], "loss/sum"),
        all_reduce(1, &[&[0, 3], &[1, 2]], "odd/sum"),
        start,
        op(8, "all-gather-done", f32s(&[20]), &[7]),
    ]));
    let analysis = analyse(&module(computations), &mesh());
    let rows: Vec<_> = analysis
        .collectives
        .iter()
        .map(|row| {
            let axes = row.axes.join("+");
            (
                row.kind.as_str(),
                axes,
                row.scope.as_str(),
                row.bytes,
                row.count,
            )
        })
        .collect();
    let expected = [
        ("all-reduce", "data", "encoder/mlp", 3000, 3),
        ("all-reduce", "model", "encoder/mlp", 330, 6),
        ("all-gather", "data+model", "", 240, 3),
        ("all-reduce", "data+model", "loss", 15, 3),
        ("all-reduce", "", "odd", 3, 3),
    ];
    assert_eq!(
        rows,
        expected.map(|(a, b, c, d, e)| (a, b.to_string(), c, d, e))
    );
}

#[test]
fn what_an_asynchronous_start_wraps_is_counted_once() {
    let wrapped = costing(all_reduce(64, &[], ""), r#"{"estimated_cycles":"9"}"#);
    let mut start = calling(op(1, "async-start", f32s(&[]), &[]), &[1]);
    start.metadata = Some(Metadata::of("decoder/dot"));
    let analysis = analyse(
        &module(vec![
            computation(
                0,
                vec![start, calling(op(2, "async-done", f32s(&[]), &[1]), &[1])],
            ),
            computation(1, vec![wrapped]),
        ]),
        &mesh(),
    );
    assert_eq!(analysis.cycles, 0.0);
    assert_eq!(analysis.collectives.len(), 1);
    let row = &analysis.collectives[0];
    assert_eq!(
        (row.bytes, row.count, row.scope.as_str()),
        (64, 1, "decoder")
    );
}

#[test]
fn what_a_custom_call_wraps_is_counted() {
    let start = calling(op(1, "async-start", f32s(&[]), &[]), &[1]);
    let offloaded = calling(op(1, "custom-call", f32s(&[]), &[]), &[2]);
    let analysis = analyse(
        &module(vec![
            computation(0, vec![start]),
            computation(1, vec![offloaded]),
            computation(2, vec![all_reduce(64, &[], "decoder/mlp/dot")]),
        ]),
        &mesh(),
    );
    assert_eq!(analysis.collectives.len(), 1);
    let row = &analysis.collectives[0];
    assert_eq!((row.bytes, row.scope.as_str()), (64, "decoder/mlp"));
}

fn axes_of(attribute: Attribute) -> Vec<String> {
    groups::axes(&Instruction::default().with(attribute), &mesh())
}

fn by_iota(groups: i64, size: i64, reshape: &[i64], order: &[i32]) -> Vec<String> {
    axes_of(Attribute::IotaCollectiveDeviceList(Box::new(
        IotaReplicaGroupListProto {
            num_replica_groups: groups,
            num_devices_per_group: size,
            iota_reshape_dims: reshape.to_vec(),
            iota_transpose_perm: order.to_vec(),
        },
    )))
}

#[test]
fn every_form_of_groups_names_its_axes() {
    let iota = by_iota;
    assert_eq!(iota(2, 4, &[4, 2], &[1, 0]), ["data"]);
    assert_eq!(iota(4, 2, &[8], &[0]), ["model"]);
    assert_eq!(iota(1, 8, &[8], &[0]), ["data", "model"]);
    assert_eq!(iota(2, 4, &[8], &[0]), [""; 0], "half of data with model");

    // The compiler's own mesh, here of the same sizes as ours.
    let mesh = MeshProto {
        axes: [("a", 4), ("b", 2)]
            .map(|(name, size)| MeshAxis {
                name: name.into(),
                size,
            })
            .to_vec(),
        ..Default::default()
    };
    let by_axes = |mesh: &MeshProto, axes: &[(i64, Option<(i64, i64)>)]| {
        let axes = axes.iter().map(|&(index, part)| AxisRefProto {
            mesh_axis_index: index,
            sub_axis_info: part.map(|(pre_size, size)| SubAxis { pre_size, size }),
        });
        let list = MeshAxesReplicaGroupListProto {
            mesh: Some(mesh.clone()),
            axes: axes.collect(),
        };
        axes_of(Attribute::MeshAxesReplicaGroupList(Box::new(list)))
    };
    assert_eq!(by_axes(&mesh, &[(0, None)]), ["data"]);
    assert_eq!(by_axes(&mesh, &[(1, None)]), ["model"]);
    assert_eq!(by_axes(&mesh, &[(0, Some((1, 4)))]), ["data"]);
    assert_eq!(
        by_axes(&mesh, &[(0, Some((2, 2)))]),
        [""; 0],
        "half of data"
    );
    let turned = MeshProto {
        iota_transform: Some(IotaTransform {
            reshape_dims: vec![2, 4],
            transpose_perm: vec![1, 0],
        }),
        ..mesh
    };
    assert_eq!(
        by_axes(&turned, &[(1, None)]),
        [""; 0],
        "devices 0 and 4 are half of data"
    );

    let pairs = [(0, 2), (2, 4), (4, 6), (6, 0)];
    let pairs = pairs.map(|(source, target)| SourceTarget { source, target });
    let permute = Attribute::SourceTargetPairs(pairs.to_vec());
    assert_eq!(axes_of(permute), ["data"]);
}

/// What a damaged or hostile module may hold; each once ended the process or ran forever.
#[test]
fn groups_that_do_not_add_up_name_no_axes() {
    for (groups, size, reshape, order) in [
        (2, 4, &[4, 2][..], &[0, 0][..]),
        (2, 4, &[4, 2], &[-1, 0]),
        (2, 4, &[4, 2], &[0, 7]),
        (2, 4, &[4, 2], &[0]),
        (2, 4, &[-4, -2], &[1, 0]),
        (2, 4, &[1 << 62, 4], &[1, 0]),
        (2, 0, &[4, 2], &[1, 0]),
        (2, -4, &[4, 2], &[1, 0]),
    ] {
        let found = by_iota(groups, size, reshape, order);
        assert_eq!(found, [""; 0], "[{groups},{size}]<={reshape:?}T{order:?}");
    }
}

#[test]
fn sizes_that_no_array_has_are_not_counted() {
    let window = |size, stride, base_dilation, padding_low| WindowDimension {
        size,
        stride,
        base_dilation,
        padding_low,
        window_dilation: 1,
        ..Default::default()
    };
    assert_eq!(convolution(i64::MIN, 8, window(3, 1, 1, 0)), 0.0);
    assert_eq!(convolution(10, i64::MAX, window(3, 1, 1, 0)), 0.0);
    assert_eq!(convolution(10, 8, window(3, -1, 1, 0)), 0.0);
    assert_eq!(convolution(10, 8, window(3, 1, 1, i64::MIN)), 0.0);
    assert_eq!(
        convolution(10, 1 << 30, window(1 << 30, 1, 1 << 30, 0)),
        0.0
    );
    let huge = |id| op(id, "reshape", f32s(&[i64::MAX, i64::MAX]), &[]);
    let twice = vec![huge(1), huge(2)];
    let analysis = analyse(&module(vec![computation(0, twice)]), &mesh());
    assert_eq!(analysis.reshaped, u64::MAX / 8 * 2 + 2);
}

#[test]
fn computations_that_call_without_end_are_given_up() {
    let chain = (0..10_000).map(|id| {
        let call = calling(op(1, "call", number(), &[]), &[id + 1]);
        computation(id, vec![costing(call, r#"{"estimated_cycles":"1"}"#)])
    });
    let analysis = analyse(&module(chain.collect()), &mesh());
    assert_eq!(analysis.cycles, MOST_CALLS as f64);
}

#[test]
fn the_costliest_branch_counts() {
    let branch = |id, cycles| {
        let config = format!(r#"{{"estimated_cycles":"{cycles}"}}"#);
        computation(id, vec![costing(constant(1, 0), &config)])
    };
    let choice = calling(op(1, "conditional", number(), &[]), &[1, 2, 3]);
    let analysis = analyse(
        &module(vec![
            computation(0, vec![choice]),
            branch(1, 4),
            branch(2, 90),
            branch(3, 8),
        ]),
        &mesh(),
    );
    assert_eq!(analysis.cycles, 90.0);
    assert_eq!(analysis.instructions, 4);
}
