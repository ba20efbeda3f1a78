//! The kinds of values that attributes have: how each is written, read and returned.

use std::sync::Arc;

use smol_str::SmolStr;

use super::wire::{Field, Writer};
use super::*;

/// Values of one kind of field: how they are written and read.
pub trait Payload {
    /// Writes the value as `field`, unless it is the default one.
    fn write(&self, field: u32, out: &mut Writer);

    /// Takes the value of `field`.
    fn read(&mut self, field: &Field) -> Result<(), ModuleError>;
}

/// How an instruction returns a value of this kind: numbers and truth values as they are, texts and lists as slices,
/// messages as an option. An absent value reads as the default.
pub trait View {
    /// The type returned.
    type Of<'a>
    where
        Self: 'a;

    /// The view of a value that may be absent.
    fn view(value: Option<&Self>) -> Self::Of<'_>;
}

/// A number that is written even if it is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Given(pub i64);

/// A field as raw bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Other {
    /// Its number.
    pub field: u32,
    /// Its key and value, as often as it occurs.
    pub bytes: Vec<u8>,
}

impl Payload for Other {
    fn write(&self, _: u32, out: &mut Writer) {
        out.raw(&self.bytes);
    }

    fn read(&mut self, field: &Field) -> Result<(), ModuleError> {
        self.bytes.extend_from_slice(field.bytes);
        Ok(())
    }
}

macro_rules! plain {
    ($($kind:ty, $of:ty, $value:ident, $out:ident, $number:ident: $write:expr, $field:ident: $read:expr, $view:expr;)*) => {$(
        impl Payload for $kind {
            fn write(&self, $number: u32, $out: &mut Writer) {
                let $value = self;
                $write
            }

            fn read(&mut self, $field: &Field) -> Result<(), ModuleError> {
                *self = $read;
                Ok(())
            }
        }

        impl View for $kind {
            type Of<'a> = $of;

            fn view(value: Option<&Self>) -> Self::Of<'_> {
                $view(value)
            }
        }
    )*};
}

plain! {
    i64, i64, value, out, number: out.int_unless_zero(number, *value),
        field: field.int()?, |value: Option<&i64>| value.copied().unwrap_or_default();
    Given, Option<i64>, value, out, number: out.int(number, value.0),
        field: Given(field.int()?), |value: Option<&Given>| value.map(|it| it.0);
    bool, bool, value, out, number: out.int_unless_zero(number, (*value).into()),
        field: field.int()? != 0, |value: Option<&bool>| value.copied().unwrap_or_default();
    f32, f32, value, out, number: if *value != 0.0 { out.float(number, *value) },
        field: field.float()?, |value: Option<&f32>| value.copied().unwrap_or_default();
    SmolStr, &'a str, value, out, number: out.bytes_unless_empty(number, value.as_bytes()),
        field: field.text()?.into(), |value| Option::map_or(value, "", SmolStr::as_str);
    Vec<u8>, &'a [u8], value, out, number: out.bytes_unless_empty(number, value),
        field: field.delimited()?.to_vec(), |value| Option::map_or(value, &[][..], Vec::as_slice);
}

impl Payload for Vec<i64> {
    fn write(&self, field: u32, out: &mut Writer) {
        out.ints(field, self);
    }

    fn read(&mut self, field: &Field) -> Result<(), ModuleError> {
        field.ints(self)
    }
}

impl View for Vec<i64> {
    type Of<'a> = &'a [i64];

    fn view(value: Option<&Self>) -> &[i64] {
        value.map_or(&[], Vec::as_slice)
    }
}

macro_rules! messages {
    (one $($message:ty)*) => {$(
        impl Payload for Box<$message> {
            fn write(&self, field: u32, out: &mut Writer) {
                out.prost(field, self.as_ref());
            }

            fn read(&mut self, field: &Field) -> Result<(), ModuleError> {
                **self = field.prost()?;
                Ok(())
            }
        }

        impl View for Box<$message> {
            type Of<'a> = Option<&'a $message>;

            fn view(value: Option<&Self>) -> Option<&$message> {
                value.map(Box::as_ref)
            }
        }
    )*};
    (many $($message:ty)*) => {$(
        impl Payload for Vec<$message> {
            fn write(&self, field: u32, out: &mut Writer) {
                self.iter().for_each(|message| out.prost(field, message));
            }

            fn read(&mut self, field: &Field) -> Result<(), ModuleError> {
                self.push(field.prost()?);
                Ok(())
            }
        }

        impl View for Vec<$message> {
            type Of<'a> = &'a [$message];

            fn view(value: Option<&Self>) -> &[$message] {
                value.map_or(&[], Vec::as_slice)
            }
        }
    )*};
}

messages! { one
    Window ConvolutionDimensionNumbers PaddingConfig ShapeProto DotDimensionNumbers GatherDimensionNumbers
    ScatterDimensionNumbers PrecisionConfig OpSharding TriangularSolveOptions ParameterReplication CholeskyOptions
    CollectiveDeviceListProto ResultAccuracy IotaReplicaGroupListProto MeshAxesReplicaGroupListProto BackendPayload
}

messages! { many SliceDimensions ReplicaGroup SourceTarget ShapeProto OutputOperandAliasing }

impl Payload for Arc<LiteralProto> {
    fn write(&self, field: u32, out: &mut Writer) {
        out.shared(field, self);
    }

    fn read(&mut self, field: &Field) -> Result<(), ModuleError> {
        *self = Arc::new(field.prost()?);
        Ok(())
    }
}

impl View for Arc<LiteralProto> {
    type Of<'a> = Option<&'a LiteralProto>;

    fn view(value: Option<&Self>) -> Option<&LiteralProto> {
        value.map(Arc::as_ref)
    }
}
