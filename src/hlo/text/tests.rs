//! What XLA's parser cannot check: the exact words, and modules with missing parts. tests/hlo_parser.py shows on the
//! modules in tests/data/hlo that XLA reads the same module back.

use std::sync::Arc;

use super::*;
use crate::hlo::attribute::Attribute;
use crate::hlo::module::{Metadata, ProgramShape};
use crate::hlo::proto::*;

fn f32_shape(dimensions: &[i64]) -> Arc<ShapeProto> {
    Arc::new(ShapeProto {
        element_type: PrimitiveType::F32 as i32,
        dimensions: dimensions.to_vec(),
        layout: Some(LayoutProto {
            minor_to_major: (0..dimensions.len() as i64).rev().collect(),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn instruction(id: i64, name: &str, opcode: &str, operands: &[i64]) -> Instruction {
    Instruction::new(id, name, opcode, f32_shape(&[2, 3]), operands)
}

/// An entry that comes before the computation it calls.
fn module() -> Module {
    let mut call = instruction(2, "y", "call", &[1]);
    call.set(Attribute::CalledComputationIds(vec![7]));
    call.metadata = Some(Metadata::of("encoder/double"));
    let mut parameter = instruction(1, "x", "parameter", &[]);
    parameter.sharding = Some(Arc::new(OpSharding {
        r#type: OpShardingType::Other as i32,
        tile_assignment_dimensions: vec![1, 2, 4],
        iota_reshape_dims: vec![4, 2],
        iota_transpose_perm: vec![1, 0],
        replicate_on_last_tile_dim: true,
        ..Default::default()
    }));
    let value = r##"#sdy.sharding<@mesh, [{}, {"model"}]>"##;
    parameter.frontend_attributes = Some(Arc::new(FrontendAttributes {
        map: [("xla.sdy.sharding".to_string(), value.to_string())].into(),
    }));
    Module {
        name: "step".into(),
        entry_id: 5,
        program_shape: Some(ProgramShape {
            parameters: vec![f32_shape(&[2, 3])],
            result: Some(f32_shape(&[2, 3])),
            ..Default::default()
        }),
        input_output_alias: Some(HloInputOutputAliasProto {
            entries: vec![AliasEntryProto {
                kind: 1,
                ..Default::default()
            }],
        }),
        computations: vec![
            Computation {
                id: 5,
                name: "main".into(),
                root_id: 2,
                instructions: vec![parameter, call],
                ..Default::default()
            },
            Computation {
                id: 7,
                name: "double".into(),
                root_id: 11,
                instructions: vec![
                    instruction(10, "a", "parameter", &[]),
                    instruction(11, "b", "add", &[10, 10]),
                ],
                ..Default::default()
            },
        ],
        ..Default::default()
    }
}

#[test]
fn a_module_prints_callees_first() {
    insta::assert_snapshot!(print(&module()), @r###"
    HloModule step,
      input_output_alias={
        {}: (0, {}, may-alias)
      },
      entry_computation_layout={(
        f32[2,3]{1,0}
      )->f32[2,3]{1,0}}

    %double {
      %a = f32[2,3]{1,0} parameter(0)
      ROOT %b = f32[2,3]{1,0} add(%a, %a)
    }

    ENTRY %main {
      %x = f32[2,3]{1,0} parameter(0), sharding={devices=[1,2,4]<=[4,2]T(1,0) last_tile_dim_replicate}, frontend_attributes={xla.sdy.sharding="#sdy.sharding<@mesh, [{}, {\"model\"}]>"}
      ROOT %y = f32[2,3]{1,0} call(%x), to_apply=%double, metadata={op_name="encoder/double"}
    }
    "###);
}

#[test]
fn a_missing_operand_or_callee_shows() {
    let mut module = module();
    module.computations.pop();
    module.computations[0].instructions.remove(0);
    let text = print(&module);
    assert!(
        text.contains("call(%<missing 1>), to_apply=%<missing 7>"),
        "{text}"
    );
}

#[test]
fn quoting_keeps_any_bytes() {
    assert_eq!(
        quoted("a\"b\\c\n\u{e9}".as_bytes()),
        r#""a\"b\\c\n\303\251""#
    );
}

#[test]
fn a_backend_configuration_that_is_no_object_is_quoted() {
    let mut module = module();
    let config = b"{diag = 78 : ui8".to_vec();
    module.computations[1].instructions[1].set(Attribute::BackendConfig(config));
    let text = print(&module);
    assert!(
        text.contains(r#"backend_config="{diag = 78 : ui8""#),
        "{text}"
    );
}

#[test]
fn a_total_order_shows_in_either_of_its_fields() {
    for (kind, order, expected) in [
        ("FLOAT", "", ""),
        ("", "PARTIAL", ""),
        ("TOTALORDER", "", ", type=TOTALORDER"),
        ("", "TOTAL", ", type=TOTALORDER"),
    ] {
        let mut module = module();
        let add = &mut module.computations[1].instructions[1];
        add.opcode = "compare".into();
        add.set(Attribute::ComparisonDirection("LT".into()));
        add.set(Attribute::ComparisonType(kind.into()));
        add.set(Attribute::ComparisonOrder(order.into()));
        let text = print(&module);
        let expected = format!("compare(%a, %a), direction=LT{expected}\n");
        assert!(text.contains(&expected), "{kind} {order}\n{text}");
    }
}
