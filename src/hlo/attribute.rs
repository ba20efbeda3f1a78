//! Attributes of instructions: what an opcode needs besides its operands, and what any instruction may carry.
//!
//! An instruction holds only the attributes it has, so it stays small although XLA's opcodes can have many. Each
//! attribute is a field of XLA's `HloInstructionProto`, which explains it, and has that field's number. An absent one has
//! its default value: 0, false, or empty.

use std::sync::Arc;

use smol_str::SmolStr;

use super::proto::payload::{Given, Other, Payload, View};
use super::proto::*;

macro_rules! attributes {
    ($($(#[$doc:meta])* $number:literal $name:ident $variant:ident($kind:ty);)*) => {
        /// One attribute of an instruction.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Attribute {
            $($(#[$doc])* $variant($kind),)*
            /// A field that ribosome does not use, kept so that another frontend's module loses nothing.
            Other(Other),
        }

        impl Attribute {
            /// The number of the field.
            pub fn field(&self) -> u32 {
                match self {
                    $(Attribute::$variant(_) => $number,)*
                    Attribute::Other(other) => other.field,
                }
            }

            /// The field `number` with its default value.
            pub(super) fn empty(number: u32) -> Attribute {
                match number {
                    $($number => Attribute::$variant(Default::default()),)*
                    field => Attribute::Other(Other { field, bytes: Vec::new() }),
                }
            }

            pub(super) fn payload(&self) -> &dyn Payload {
                match self {
                    $(Attribute::$variant(value) => value,)*
                    Attribute::Other(other) => other,
                }
            }

            pub(super) fn payload_mut(&mut self) -> &mut dyn Payload {
                match self {
                    $(Attribute::$variant(value) => value,)*
                    Attribute::Other(other) => other,
                }
            }
        }

        impl super::module::Instruction {
            $($(#[$doc])* pub fn $name(&self) -> <$kind as View>::Of<'_> {
                View::view(self.attributes().iter().find_map(|attribute| match attribute {
                    Attribute::$variant(value) => Some(value),
                    _ => None,
                }))
            })*
        }
    };
}

attributes! {
    /// A constant's value.
    8 literal Literal(Arc<LiteralProto>);
    /// Which parameter of its computation an instruction is.
    9 parameter_number ParameterNumber(i64);
    /// How a fusion is emitted (`kLoop`).
    11 fusion_kind FusionKind(SmolStr);
    /// Which element `get-tuple-element` takes.
    13 tuple_index TupleIndex(i64);
    /// The dimensions that an operation works on.
    14 dimensions Dimensions(Vec<i64>);
    /// The window of a convolution or of a reduce-window.
    15 window Window(Box<Window>);
    /// Which dimension of a convolution is which.
    16 convolution_dimension_numbers ConvolutionDimensionNumbers(Box<ConvolutionDimensionNumbers>);
    /// The bounds of a slice, one per dimension.
    17 slice_dimensions SliceDimensions(Vec<SliceDimensions>);
    /// Exponent bits of `reduce-precision`.
    18 exponent_bits ExponentBits(i64);
    /// Mantissa bits of `reduce-precision`.
    19 mantissa_bits MantissaBits(i64);
    /// The sizes of a dynamic slice.
    20 dynamic_slice_sizes DynamicSliceSizes(Vec<i64>);
    /// The padding of `pad`.
    21 padding_config PaddingConfig(Box<PaddingConfig>);
    /// The configuration of an outfeed.
    22 outfeed_config OutfeedConfig(Vec<u8>);
    /// The distribution of `rng`.
    23 distribution Distribution(i64);
    /// The term that keeps a batch norm from dividing by 0.
    24 epsilon Epsilon(f32);
    /// The feature dimension of a batch norm.
    25 feature_index FeatureIndex(i64);
    /// The channel of a communication.
    26 channel_id ChannelId(i64);
    /// The configuration of an infeed.
    27 infeed_config InfeedConfig(Vec<u8>);
    /// The target of a custom call.
    28 custom_call_target CustomCallTarget(SmolStr);
    /// The shape of an outfeed's input.
    29 outfeed_shape OutfeedShape(Box<ShapeProto>);
    /// A dot's contracted and batch dimensions.
    30 dot_dimension_numbers DotDimensionNumbers(Box<DotDimensionNumbers>);
    /// The kind of a Fourier transform.
    31 fft_type FftType(i64);
    /// The lengths of a Fourier transform.
    32 fft_length FftLength(Vec<i64>);
    /// How a gather's dimensions correspond.
    33 gather_dimension_numbers GatherDimensionNumbers(Box<GatherDimensionNumbers>);
    /// The sizes of a gather's slices.
    34 gather_slice_sizes GatherSliceSizes(Vec<i64>);
    /// Instructions that must run before this one without being its operands.
    37 control_predecessor_ids ControlPredecessorIds(Vec<i64>);
    /// The computations that an instruction calls.
    38 called_computation_ids CalledComputationIds(Vec<i64>);
    /// The backend's own data.
    43 backend_config BackendConfig(Vec<u8>);
    /// Whether a transfer is to the host.
    47 is_host_transfer IsHostTransfer(bool);
    /// How a scatter's dimensions correspond.
    48 scatter_dimension_numbers ScatterDimensionNumbers(Box<ScatterDimensionNumbers>);
    /// The groups of a collective, listed.
    49 replica_groups ReplicaGroups(Vec<ReplicaGroup>);
    /// How many groups of features a convolution keeps apart.
    50 feature_group_count FeatureGroupCount(i64);
    /// The precision requested for a product's operands.
    51 precision_config PrecisionConfig(Box<PrecisionConfig>);
    /// The sources and targets of a collective-permute.
    52 source_target_pairs SourceTargetPairs(Vec<SourceTarget>);
    /// The sharding that enters a domain.
    54 domain_entry_sharding DomainEntrySharding(Box<OpSharding>);
    /// The sharding that leaves a domain.
    55 domain_exit_sharding DomainExitSharding(Box<OpSharding>);
    /// Whether the layouts of operands and result are fixed.
    56 constrain_layout ConstrainLayout(bool);
    /// The operands' fixed layouts.
    57 operand_shapes_with_layout OperandShapesWithLayout(Vec<ShapeProto>);
    /// How many groups of batch elements a convolution keeps apart.
    58 batch_group_count BatchGroupCount(i64);
    /// A triangular solve's options.
    59 triangular_solve_options TriangularSolveOptions(Box<TriangularSolveOptions>);
    /// Whether a sort is stable.
    60 is_stable IsStable(bool);
    /// Which leaves of a parameter are the same on every replica.
    61 parameter_replication ParameterReplication(Box<ParameterReplication>);
    /// A Cholesky factorisation's options.
    62 cholesky_options CholeskyOptions(Box<CholeskyOptions>);
    /// `EQ`, `NE`, `LT`, `LE`, `GT` or `GE`.
    63 comparison_direction ComparisonDirection(SmolStr);
    /// Whether a custom call has side effects.
    65 custom_call_has_side_effect CustomCallHasSideEffect(bool);
    /// How far `rng-get-and-update-state` advances the state.
    66 delta Delta(i64);
    /// Whether a gather's or scatter's indices are in order.
    67 indices_are_sorted IndicesAreSorted(bool);
    /// Whether a gather's or scatter's indices are all different.
    69 unique_indices UniqueIndices(bool);
    /// The algorithm of `rng-bit-generator`.
    70 rng_algorithm RngAlgorithm(i64);
    /// Whether a collective's groups list device ids.
    71 use_global_device_ids UseGlobalDeviceIds(bool);
    /// How a comparison orders: `FLOAT`, `TOTALORDER`, `SIGNED` or `UNSIGNED`.
    72 comparison_type ComparisonType(SmolStr);
    /// Outputs that reuse the memory of operands.
    74 output_operand_aliasing OutputOperandAliasing(Vec<OutputOperandAliasing>);
    /// When a custom call is scheduled.
    76 custom_call_schedule CustomCallSchedule(i64);
    /// How a custom call is called.
    77 custom_call_api_version CustomCallApiVersion(i64);
    /// The thread of an asynchronous operation.
    79 async_execution_thread AsyncExecutionThread(SmolStr);
    /// The index of a prefetch across programs.
    80 cross_program_prefetch_index CrossProgramPrefetchIndex(Given);
    /// How many elements `topk` takes.
    81 k K(i64);
    /// Whether `topk` takes the largest.
    85 largest Largest(bool);
    /// The groups of a collective, listed or as an iota.
    87 collective_device_list CollectiveDeviceList(Box<CollectiveDeviceListProto>);
    /// Whether a call represents one higher-level operation.
    89 is_composite IsComposite(bool);
    /// The accuracy requested of a transcendental.
    91 result_accuracy ResultAccuracy(Box<ResultAccuracy>);
    /// The groups of a collective, as an iota.
    92 iota_collective_device_list IotaCollectiveDeviceList(Box<IotaReplicaGroupListProto>);
    /// The groups of a collective, as axes of a mesh.
    93 mesh_axes_replica_group_list MeshAxesReplicaGroupList(Box<MeshAxesReplicaGroupListProto>);
    /// Whether a scan starts at the end.
    94 is_reverse IsReverse(bool);
    /// How many carries a scan has.
    95 num_carries NumCarries(i64);
    /// Whether a scan's function is associative.
    96 is_associative IsAssociative(i64);
    /// The backend's own data in its newer form.
    99 backend_config_payload BackendConfigPayload(Box<BackendPayload>);
    /// How a comparison orders in newer modules: `TOTAL` or `PARTIAL`.
    102 comparison_order ComparisonOrder(SmolStr);
}
