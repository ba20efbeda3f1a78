//! Errors in a module's bytes.

/// Bytes that are not a serialized HLO module.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModuleError {
    /// The bytes end within a field.
    #[error("the HLO module's bytes end in the middle of a field")]
    CutOff,
    /// A number of more than 64 bits.
    #[error("the HLO module holds a number of more than 64 bits")]
    Varint,
    /// A field key that protocol buffers do not have.
    #[error("the HLO module holds a field with the key {0}, which protocol buffers do not have")]
    Key(u64),
    /// A field of another type.
    #[error("field {0} of the HLO module does not have XLA's type")]
    Kind(u32),
    /// A text that is not UTF-8.
    #[error("field {0} of the HLO module is not text in UTF-8")]
    Text(u32),
    /// A message within it cannot be read.
    #[error("the HLO module holds a broken message: {0}")]
    Message(#[from] prost::DecodeError),
    /// No module in the bytes.
    #[error("the bytes hold no HLO module")]
    NoModule,
}
