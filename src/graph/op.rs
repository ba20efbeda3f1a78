//! The operations. Each aspect is described once: attributes here, shape rule in `infer`, gradient in `autodiff`,
//! arithmetic in `cost`, spelling in `text`. The matches in those files are exhaustive, so the compiler lists what a new
//! variant still needs.

use std::fmt;

use super::dtype::DType;
use super::id::RegionId;
use super::shape::{Axis, AxisName, Shape};

/// The purpose of a program's input. It decides donation, sharding rules and where the value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A trained weight; donated, updated by the step.
    Weight,
    /// Optimizer state of a weight; donated, and sharded like the weight.
    State,
    /// What the model keeps of earlier batches (Transformer-XL); donated, updated by the step, sharded like an activation.
    Memory,
    /// The step counter, one `s32`.
    Step,
    /// The seed of all randomness, one `u32`.
    Seed,
    /// A part of the batch.
    Batch,
}

impl Role {
    /// Every role, in the order in which a program takes its inputs.
    pub const ALL: [Role; 6] = [
        Role::Weight,
        Role::State,
        Role::Memory,
        Role::Step,
        Role::Seed,
        Role::Batch,
    ];

    /// The word for it in the text form and in signatures.
    pub fn name(self) -> &'static str {
        match self {
            Role::Weight => "weight",
            Role::State => "state",
            Role::Memory => "memory",
            Role::Step => "step",
            Role::Seed => "seed",
            Role::Batch => "batch",
        }
    }
}

/// Values written into the program.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// One number for a scalar of a float type.
    Float(f64),
    /// One number for a scalar of an integer type.
    Int(i64),
    /// One truth value.
    Bool(bool),
    /// A one-axis table of whole numbers, such as a relative-position bucket for each distance.
    Table(Vec<i64>),
}

/// Elementwise functions of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are HLO's
pub enum Unary {
    Neg,
    Abs,
    Sign,
    Exp,
    Expm1,
    Log,
    Log1p,
    Sqrt,
    Rsqrt,
    Tanh,
    Logistic,
    Erf,
    Sin,
    Cos,
    Floor,
    Not,
}

/// Elementwise functions of two operands of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are HLO's
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    Rem,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// Directions of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are HLO's
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// How a reduction combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Reduction {
    Sum,
    Max,
    Min,
}

/// Implements `ALL`, `name` and `Display` for an enum of words.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        impl $type {
            /// All of them.
            pub const ALL: &'static [$type] = &[$($type::$variant),*];

            /// The word for it in the text form.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $word),* }
            }

            /// The one called `word`.
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.name() == word)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words!(Unary {
    Neg = "negate", Abs = "abs", Sign = "sign", Exp = "exponential", Expm1 = "exponential-minus-one",
    Log = "log", Log1p = "log-plus-one", Sqrt = "sqrt", Rsqrt = "rsqrt", Tanh = "tanh",
    Logistic = "logistic", Erf = "erf", Sin = "sine", Cos = "cosine", Floor = "floor", Not = "not",
});
words!(Binary {
    Add = "add", Sub = "subtract", Mul = "multiply", Div = "divide", Max = "maximum", Min = "minimum",
    Pow = "power", Rem = "remainder", And = "and", Or = "or", Xor = "xor",
    ShiftLeft = "shift-left", ShiftRight = "shift-right-logical",
});
words!(Comparison { Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge" });
words!(Reduction { Sum = "sum", Max = "max", Min = "min" });
words!(Pin { Weight = "weight", State = "state", Activation = "activation", Residual = "residual" });
words!(Remat { Full = "full", Dots = "dots", Names = "names", None = "none" });

/// Selects the list of sharding rules for a pinned tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pin {
    /// Sharded like a weight.
    Weight,
    /// Sharded like a weight's optimizer state; so is the weight's gradient, which updates that state.
    State,
    /// Sharded like an activation.
    Activation,
    /// Sharded like the residual stream, which blocks read whole and add to.
    Residual,
}

impl Pin {
    /// The pin for the gradient of a tensor with this pin: the optimizer state's for a weight, else the same.
    pub fn of_gradient(self) -> Self {
        match self {
            Pin::Weight | Pin::State => Pin::State,
            Pin::Activation => Pin::Activation,
            Pin::Residual => Pin::Residual,
        }
    }
}

/// What a loop saves for its backward pass, which computes everything else again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Remat {
    /// Only the carry of each iteration.
    #[default]
    Full,
    /// The carry and the results of matrix products.
    Dots,
    /// The carry and the tensors that the model tagged.
    Names,
    /// All that the backward pass needs, except views, counters and masks, which are cheap to compute again.
    None,
}

/// A scan: `body` runs once for each index of `axis`.
///
/// The operands are carries, then slices (each with `axis` first), then captures. The body's arguments are the index
/// (`s32`), carries, one slice of each sliced operand, and captures. Its results are the next carries, then the values
/// to stack along `axis`. The loop's results are the last carries, then the stacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// The region that runs once per iteration.
    pub body: RegionId,
    /// The axis that slices lose and stacks gain; its size is the trip count.
    pub axis: Axis,
    /// Whether the indices run from last to first.
    pub reverse: bool,
    /// How many of the operands are carries.
    pub carries: usize,
    /// How many of the operands are sliced.
    pub slices: usize,
    /// What is saved for the backward pass.
    pub remat: Remat,
}

/// One operation. The node holds the operands; each variant states their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// An input of the whole program. No operands; only in the root region.
    Parameter {
        /// The path-like name, unique in the program.
        name: String,
        /// Its purpose.
        role: Role,
        /// Its shape.
        shape: Shape,
    },
    /// An argument of a loop body, in the order of the region's `args`.
    Argument {
        /// Its shape.
        shape: Shape,
    },
    /// A constant.
    Constant {
        /// The value.
        value: Literal,
        /// Its shape: a scalar, or one axis for a table.
        shape: Shape,
    },
    /// The position along `axis`, as `shape.dtype`.
    Iota {
        /// The axis that counts.
        axis: AxisName,
        /// The result's shape.
        shape: Shape,
    },
    /// An elementwise function of one operand.
    Unary(Unary),
    /// An elementwise function of two operands of equal shapes.
    Binary(Binary),
    /// An elementwise comparison of two operands of equal shapes, as `pred`.
    Compare(Comparison),
    /// A choice by element. Operands with equal axes: a `pred`, the value if true, the value if false.
    Select,
    /// Another element type.
    Convert(DType),
    /// Sum of products over the axes `over`. Other shared axes are batch axes. Result: batch axes, free axes of the
    /// left, free axes of the right, as elements of `dtype`.
    Dot {
        /// The contracted axes.
        over: Vec<AxisName>,
        /// The result's element type; sums are kept in it or in a wider one.
        dtype: DType,
    },
    /// Combines all elements along `over`.
    Reduce {
        /// How.
        kind: Reduction,
        /// Along which axes.
        over: Vec<AxisName>,
    },
    /// Repeats along the axes that the operand does not have. The axes may be in any order.
    Broadcast(Vec<Axis>),
    /// Puts the axes in this order.
    Transpose(Vec<AxisName>),
    /// Renames the axis `from` to `to`.
    Rename {
        /// The name it has.
        from: AxisName,
        /// The name it gets.
        to: AxisName,
    },
    /// Splits one axis into several, major first.
    Split {
        /// The axis to split.
        axis: AxisName,
        /// What it becomes.
        into: Vec<Axis>,
    },
    /// Merges adjacent axes into one.
    Merge {
        /// The axes, adjacent and in this order.
        axes: Vec<AxisName>,
        /// The name of the result.
        into: AxisName,
    },
    /// Elements `start, start + stride, ...` below `limit` along `axis`.
    Slice {
        /// Along which axis.
        axis: AxisName,
        /// The first index.
        start: usize,
        /// One past the last index.
        limit: usize,
        /// The distance between elements.
        stride: usize,
    },
    /// Adds `value` before, after and between elements along `axis`.
    Pad {
        /// Along which axis.
        axis: AxisName,
        /// How many before.
        low: usize,
        /// How many after.
        high: usize,
        /// How many between neighbours.
        interior: usize,
        /// The value added.
        value: f64,
    },
    /// Puts the operands one after the other along `axis`.
    Concat(AxisName),
    /// Reverses the order along `axis`.
    Reverse(AxisName),
    /// `size` elements along `axis` from a computed start. Operands: the tensor, an `s32` scalar.
    DynamicSlice {
        /// Along which axis.
        axis: AxisName,
        /// How many.
        size: usize,
    },
    /// Writes a block along `axis` at a computed start. Operands: the tensor, the block, an `s32` scalar.
    DynamicUpdate(AxisName),
    /// Looks rows up. Operands: a table with `axis`, whole-number ids of other axes. Result: the ids' axes, then the
    /// table's other axes. Ids must be within the axis; for any other, HLO reads the nearest row and passes no gradient.
    Gather(AxisName),
    /// Adds rows to a table; the reverse of `Gather`. Operands: the table, ids, rows. Rows with ids outside the axis are
    /// left out.
    ScatterAdd(AxisName),
    /// A scan, whose result is a tuple.
    Loop(Box<Loop>),
    /// One result of a loop.
    Get {
        /// Its number: carries first, then stacks.
        index: usize,
        /// Its shape.
        shape: Shape,
    },
    /// Fixes how the operand is sharded.
    Pin(Pin),
    /// Keeps the compiler from moving computation across it.
    Barrier,
    /// Marks a tensor to save under [`Remat::Names`].
    Tag(String),
    /// Stops the gradient.
    Detach,
}

impl Op {
    /// The word for it in the text form and in error messages.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Parameter { .. } => "parameter",
            Op::Argument { .. } => "argument",
            Op::Constant { .. } => "constant",
            Op::Iota { .. } => "iota",
            Op::Unary(kind) => kind.name(),
            Op::Binary(kind) => kind.name(),
            Op::Compare(_) => "compare",
            Op::Select => "select",
            Op::Convert(_) => "convert",
            Op::Dot { .. } => "dot",
            Op::Reduce { .. } => "reduce",
            Op::Broadcast(_) => "broadcast",
            Op::Transpose(_) => "transpose",
            Op::Rename { .. } => "rename",
            Op::Split { .. } => "split",
            Op::Merge { .. } => "merge",
            Op::Slice { .. } => "slice",
            Op::Pad { .. } => "pad",
            Op::Concat(_) => "concatenate",
            Op::Reverse(_) => "reverse",
            Op::DynamicSlice { .. } => "dynamic-slice",
            Op::DynamicUpdate(_) => "dynamic-update-slice",
            Op::Gather(_) => "gather",
            Op::ScatterAdd(_) => "scatter-add",
            Op::Loop(_) => "loop",
            Op::Get { .. } => "get",
            Op::Pin(_) => "pin",
            Op::Barrier => "barrier",
            Op::Tag(_) => "tag",
            Op::Detach => "detach",
        }
    }
}
