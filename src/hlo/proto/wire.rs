//! The wire format of protocol buffers: writes fields, and splits messages into fields.
//!
//! Messages are written in one pass: a nested one goes straight into the bytes, and its length is inserted before it
//! once it is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ModuleError;

/// Writes fields into bytes.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
    /// The bytes of shared messages, by their address.
    shared: BTreeMap<usize, Vec<u8>>,
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

impl Writer {
    /// A writer with capacity for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Writer {
            bytes: Vec::with_capacity(bytes),
            shared: BTreeMap::new(),
        }
    }

    /// The bytes written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes bytes that are already fields.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn varint(&mut self, value: u64) {
        put_varint(&mut self.bytes, value);
    }

    fn key(&mut self, field: u32, wire: u64) {
        put_key(&mut self.bytes, field, wire);
    }

    /// Writes a whole number: an `int64`, `int32`, enumeration or `bool`.
    pub fn int(&mut self, field: u32, value: i64) {
        self.key(field, VARINT);
        self.varint(value as u64);
    }

    /// Writes a whole number, unless it is 0.
    pub fn int_unless_zero(&mut self, field: u32, value: i64) {
        if value != 0 {
            self.int(field, value);
        }
    }

    /// Writes a 32-bit float.
    pub fn float(&mut self, field: u32, value: f32) {
        self.key(field, FIXED32);
        self.raw(&value.to_le_bytes());
    }

    /// Writes bytes or a text.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        put_bytes(&mut self.bytes, field, value);
    }

    /// Writes bytes or a text, unless it is empty.
    pub fn bytes_unless_empty(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes(field, value);
        }
    }

    /// Writes a list of whole numbers, unless it is empty.
    pub fn ints(&mut self, field: u32, values: &[i64]) {
        if !values.is_empty() {
            self.message(field, |out| {
                values.iter().for_each(|&value| out.varint(value as u64))
            });
        }
    }

    /// Writes a message with the fields that `write` writes.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer)) {
        let start = self.begin(field);
        write(self);
        self.end(start);
    }

    /// Begins a message; its fields come next. Returns its start, for [`Writer::end`].
    pub fn begin(&mut self, field: u32) -> usize {
        self.key(field, DELIMITED);
        // Most messages are shorter than 128 bytes, so their length takes one byte.
        self.bytes.push(0);
        self.bytes.len()
    }

    /// Ends the message that began at `start`.
    pub fn end(&mut self, start: usize) {
        let end = self.bytes.len();
        let len = end - start;
        if len < 0x80 {
            self.bytes[start - 1] = len as u8;
            return;
        }
        self.varint(len as u64);
        let (mut prefix, size) = ([0; 10], self.bytes.len() - end);
        prefix[..size].copy_from_slice(&self.bytes[end..]);
        self.bytes.copy_within(start..end, start - 1 + size);
        self.bytes[start - 1..start - 1 + size].copy_from_slice(&prefix[..size]);
        self.bytes.truncate(end - 1 + size);
    }

    /// Writes a `prost` message.
    pub fn prost(&mut self, field: u32, message: &impl prost::Message) {
        self.key(field, DELIMITED);
        self.varint(message.encoded_len() as u64);
        message.encode_raw(&mut self.bytes);
    }

    /// Writes a `prost` message that occurs many times, serializing it once. Shared messages must live as long as the
    /// writer, or one could be mistaken for another.
    pub fn shared(&mut self, field: u32, message: &Arc<impl prost::Message>) {
        let address = Arc::as_ptr(message).addr();
        let bytes = self.shared.entry(address);
        let bytes = bytes.or_insert_with(|| message.encode_to_vec());
        put_bytes(&mut self.bytes, field, bytes);
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn put_key(bytes: &mut Vec<u8>, field: u32, wire: u64) {
    put_varint(bytes, u64::from(field) << 3 | wire);
}

fn put_bytes(bytes: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_key(bytes, field, DELIMITED);
    put_varint(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

/// The raw value of a field.
#[derive(Clone, Copy)]
pub enum Wire<'a> {
    /// A whole number, a truth value or an enumeration.
    Varint(u64),
    /// Eight bytes; no field read here has this type.
    Fixed64,
    /// A text, bytes, a message or a list of numbers.
    Delimited(&'a [u8]),
    /// Four bytes.
    Fixed32(u32),
}

/// The fields of a message, one after the other.
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// One field of a message.
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// Its value.
    pub value: Wire<'a>,
    /// The bytes of both.
    pub bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    pub fn of(message: &'a [u8]) -> Self {
        Fields { rest: message }
    }

    /// The next field; `None` at the end of the message.
    pub fn next(&mut self) -> Result<Option<Field<'a>>, ModuleError> {
        let all = self.rest;
        if all.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|&number| number > 0)
            .ok_or(ModuleError::Key(key))?;
        let value = match key & 7 {
            VARINT => Wire::Varint(self.varint()?),
            FIXED64 => {
                self.take(8)?;
                Wire::Fixed64
            }
            DELIMITED => {
                let len = usize::try_from(self.varint()?).map_err(|_| ModuleError::CutOff)?;
                Wire::Delimited(self.take(len)?)
            }
            FIXED32 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(ModuleError::Key(key)),
        };
        Ok(Some(Field {
            number,
            value,
            bytes: &all[..all.len() - self.rest.len()],
        }))
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next number.
    pub fn varint(&mut self) -> Result<u64, ModuleError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ModuleError::Varint)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ModuleError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ModuleError::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModuleError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(ModuleError::CutOff)?;
        self.rest = rest;
        Ok(*taken)
    }
}

impl<'a> Field<'a> {
    fn wrong(&self) -> ModuleError {
        ModuleError::Kind(self.number)
    }

    /// The value as a whole number.
    pub fn int(&self) -> Result<i64, ModuleError> {
        match self.value {
            Wire::Varint(value) => Ok(value as i64),
            _ => Err(self.wrong()),
        }
    }

    /// The value as a float.
    pub fn float(&self) -> Result<f32, ModuleError> {
        match self.value {
            Wire::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => Err(self.wrong()),
        }
    }

    /// The value as bytes, a text or a message.
    pub fn delimited(&self) -> Result<&'a [u8], ModuleError> {
        match self.value {
            Wire::Delimited(bytes) => Ok(bytes),
            _ => Err(self.wrong()),
        }
    }

    /// The value as a text.
    pub fn text(&self) -> Result<&'a str, ModuleError> {
        std::str::from_utf8(self.delimited()?).map_err(|_| ModuleError::Text(self.number))
    }

    /// The value as a list of whole numbers, or one number of an unpacked list.
    pub fn ints(&self, into: &mut Vec<i64>) -> Result<(), ModuleError> {
        match self.value {
            Wire::Varint(value) => into.push(value as i64),
            Wire::Delimited(bytes) => {
                let mut numbers = Fields::of(bytes);
                while !numbers.is_empty() {
                    into.push(numbers.varint()? as i64);
                }
            }
            _ => return Err(self.wrong()),
        }
        Ok(())
    }

    /// The value as a `prost` message.
    pub fn prost<M: prost::Message + Default>(&self) -> Result<M, ModuleError> {
        Ok(M::decode(self.delimited()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short_messages_come_back() {
        for size in [0, 1, 127, 128, 20_000] {
            let mut out = Writer::default();
            out.message(3, |out| out.bytes(1, &vec![7; size]));
            out.int(4, -1);
            let bytes = out.into_bytes();
            let mut fields = Fields::of(&bytes);
            let message = fields.next().unwrap().unwrap();
            assert_eq!(message.number, 3);
            let mut inner = Fields::of(message.delimited().unwrap());
            assert_eq!(
                inner.next().unwrap().unwrap().delimited().unwrap(),
                vec![7; size]
            );
            assert_eq!(fields.next().unwrap().unwrap().int().unwrap(), -1);
            assert!(fields.next().unwrap().is_none());
        }
    }

    #[test]
    fn broken_bytes_are_errors() {
        for bytes in [
            &[0x1a, 5, 1][..],
            &[0x1a],
            &[0x0d, 1, 2],
            &[0x80; 11],
            &[0],
            &[0x0b],
        ] {
            let mut fields = Fields::of(bytes);
            assert!(fields.next().is_err(), "{bytes:?}");
        }
    }
}
