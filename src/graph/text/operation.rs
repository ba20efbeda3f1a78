//! Reads operations: name, attributes, and the attributes that follow from the node's shape.

use super::super::dtype::DType;
use super::super::ir::ROOT;
use super::super::op::{Binary, Comparison, Literal, Loop, Op, Pin, Reduction, Remat, Role, Unary};
use super::super::shape::{AxisName, Shape};
use super::cursor::{Cursor, Result};
use super::lex::Token;

/// The operation called `word`, with blank attributes.
pub(super) fn blank(word: &str) -> Option<Op> {
    let scalar = || Shape::scalar(DType::F32);
    let axis = AxisName::default;
    let elementwise = Unary::named(word)
        .map(Op::Unary)
        .or(Binary::named(word).map(Op::Binary));
    if elementwise.is_some() {
        return elementwise;
    }
    // Each word is that of `Op::name`; a test checks this.
    Some(match word {
        "parameter" => Op::Parameter {
            name: String::new(),
            role: Role::Batch,
            shape: scalar(),
        },
        "argument" => Op::Argument { shape: scalar() },
        "constant" => Op::Constant {
            value: Literal::Int(0),
            shape: scalar(),
        },
        "iota" => Op::Iota {
            axis: axis(),
            shape: scalar(),
        },
        "compare" => Op::Compare(Comparison::Eq),
        "select" => Op::Select,
        "convert" => Op::Convert(DType::F32),
        "dot" => Op::Dot {
            over: Vec::new(),
            dtype: DType::F32,
        },
        "reduce" => Op::Reduce {
            kind: Reduction::Sum,
            over: Vec::new(),
        },
        "broadcast" => Op::Broadcast(Vec::new()),
        "transpose" => Op::Transpose(Vec::new()),
        "rename" => Op::Rename {
            from: axis(),
            to: axis(),
        },
        "split" => Op::Split {
            axis: axis(),
            into: Vec::new(),
        },
        "merge" => Op::Merge {
            axes: Vec::new(),
            into: axis(),
        },
        "slice" => Op::Slice {
            axis: axis(),
            start: 0,
            limit: 0,
            stride: 1,
        },
        "pad" => Op::Pad {
            axis: axis(),
            low: 0,
            high: 0,
            interior: 0,
            value: 0.0,
        },
        "concatenate" => Op::Concat(axis()),
        "reverse" => Op::Reverse(axis()),
        "dynamic-slice" => Op::DynamicSlice {
            axis: axis(),
            size: 0,
        },
        "dynamic-update-slice" => Op::DynamicUpdate(axis()),
        "gather" => Op::Gather(axis()),
        "scatter-add" => Op::ScatterAdd(axis()),
        "loop" => Op::Loop(Box::new(Loop {
            body: ROOT,
            axis: (axis(), 0).into(),
            reverse: false,
            carries: 0,
            slices: 0,
            remat: Remat::Full,
        })),
        "get" => Op::Get {
            index: 0,
            shape: scalar(),
        },
        "pin" => Op::Pin(Pin::Activation),
        "barrier" => Op::Barrier,
        "tag" => Op::Tag(String::new()),
        "detach" => Op::Detach,
        _ => return None,
    })
}

/// Reads the attributes of `op` in their order.
pub(super) fn attributes(cursor: &mut Cursor, op: &mut Op) -> Result<()> {
    let text = |cursor: &mut Cursor, key: &str| {
        cursor.key(key)?;
        cursor.name("a name")
    };
    let axis = |cursor: &mut Cursor, key: &str| -> Result<AxisName> {
        cursor.key(key)?;
        Ok(cursor.name("an axis")?.into())
    };
    let axes = |cursor: &mut Cursor, key: &str| -> Result<Vec<AxisName>> {
        cursor.key(key)?;
        cursor.list(|cursor| Ok(cursor.name("an axis")?.into()))
    };
    let size = |cursor: &mut Cursor, key: &str| {
        cursor.key(key)?;
        cursor.size()
    };
    match op {
        Op::Parameter { name, role, .. } => {
            *name = text(cursor, "name")?;
            cursor.key("role")?;
            *role = choice(cursor, "a role", &Role::ALL, Role::name)?;
        }
        Op::Constant { value, .. } => {
            cursor.key("value")?;
            *value = literal(cursor)?;
        }
        Op::Iota { axis: along, .. } => *along = axis(cursor, "axis")?,
        Op::Compare(kind) => {
            cursor.key("direction")?;
            *kind = choice(cursor, "a direction", Comparison::ALL, Comparison::name)?;
        }
        Op::Dot { over, .. } => *over = axes(cursor, "over")?,
        Op::Reduce { kind, over } => {
            cursor.key("kind")?;
            *kind = choice(cursor, "a reduction", Reduction::ALL, Reduction::name)?;
            *over = axes(cursor, "over")?;
        }
        Op::Rename { from, to } => {
            *from = axis(cursor, "from")?;
            *to = axis(cursor, "to")?;
        }
        Op::Split { axis: of, into } => {
            *of = axis(cursor, "axis")?;
            cursor.key("into")?;
            *into = cursor.axes()?;
        }
        Op::Merge { axes: of, into } => {
            *of = axes(cursor, "axes")?;
            *into = axis(cursor, "into")?;
        }
        Op::Slice {
            axis: along,
            start,
            limit,
            stride,
        } => {
            *along = axis(cursor, "axis")?;
            *start = size(cursor, "start")?;
            *limit = size(cursor, "limit")?;
            *stride = size(cursor, "stride")?;
        }
        Op::Pad {
            axis: along,
            low,
            high,
            interior,
            value,
        } => {
            *along = axis(cursor, "axis")?;
            *low = size(cursor, "low")?;
            *high = size(cursor, "high")?;
            *interior = size(cursor, "interior")?;
            cursor.key("value")?;
            *value = cursor.number("a number")?;
        }
        Op::Concat(along)
        | Op::Reverse(along)
        | Op::DynamicUpdate(along)
        | Op::Gather(along)
        | Op::ScatterAdd(along) => *along = axis(cursor, "axis")?,
        Op::DynamicSlice {
            axis: along,
            size: taken,
        } => {
            *along = axis(cursor, "axis")?;
            *taken = size(cursor, "size")?;
        }
        Op::Get { index, .. } => *index = size(cursor, "index")?,
        Op::Pin(kind) => {
            cursor.key("kind")?;
            *kind = choice(cursor, "a list of rules", Pin::ALL, Pin::name)?;
        }
        Op::Tag(tag) => *tag = text(cursor, "name")?,
        Op::Argument { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Convert(_)
        | Op::Broadcast(_)
        | Op::Transpose(_)
        | Op::Loop(_)
        | Op::Barrier
        | Op::Detach => {}
    }
    Ok(())
}

pub(super) fn choice<T: Copy>(
    cursor: &mut Cursor,
    what: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T> {
    let words: Vec<_> = all.iter().map(|it| name(*it)).collect();
    let named = |word: &str| all.iter().copied().find(|it| name(*it) == word);
    cursor.choice(what, &words, named)
}

fn literal(cursor: &mut Cursor) -> Result<Literal> {
    const EXPECTED: &str = "a number, `true`, `false`, or a list of whole numbers";
    if *cursor.peek() == Token::Mark('[') {
        let whole = |cursor: &mut Cursor| cursor.number("a whole number of 64 bits");
        return cursor.list(whole).map(Literal::Table);
    }
    cursor.take(EXPECTED, |token| match token {
        Token::Name(word) if word == "true" => Some(Literal::Bool(true)),
        Token::Name(word) if word == "false" => Some(Literal::Bool(false)),
        Token::Number(digits) | Token::Name(digits) => match digits.parse() {
            Ok(whole) => Some(Literal::Int(whole)),
            // Too many digits for a whole number do not become a float: that would lose some.
            Err(_)
                if digits
                    .trim_start_matches('-')
                    .bytes()
                    .all(|b| b.is_ascii_digit()) =>
            {
                None
            }
            Err(_) => digits.parse().ok().map(Literal::Float),
        },
        _ => None,
    })
}

/// Sets the attributes of `op` that follow from its node's shape.
pub(super) fn complete(op: &mut Op, of: &Shape) {
    match op {
        Op::Parameter { shape, .. }
        | Op::Argument { shape }
        | Op::Constant { shape, .. }
        | Op::Iota { shape, .. }
        | Op::Get { shape, .. } => *shape = of.clone(),
        Op::Convert(dtype) | Op::Dot { dtype, .. } => *dtype = of.dtype,
        Op::Broadcast(axes) => *axes = of.axes.clone(),
        Op::Transpose(order) => *order = of.names().cloned().collect(),
        _ => {}
    }
}
