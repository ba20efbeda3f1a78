//! What can be wrong with a module's bytes.

/// Bytes that are no serialized HLO module.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModuleError {
    /// The bytes end within a field.
    #[error("the HLO module's bytes end in the middle of a field")]
    CutOff,
    /// A number of more than 64 bits.
    #[error("the HLO module holds a number of more than 64 bits")]
    Varint,
    /// The key of a field that protocol buffers do not have.
    #[error("the HLO module holds a field with the key {0}, which is not one of protocol buffers")]
    Key(u64),
    /// A field of another type.
    #[error("field {0} of the HLO module is of another type than XLA's")]
    Kind(u32),
    /// A text that is not UTF-8.
    #[error("field {0} of the HLO module is not text in UTF-8")]
    Text(u32),
    /// A message within it cannot be read.
    #[error("the HLO module holds a broken message: {0}")]
    Message(#[from] prost::DecodeError),
    /// There is no module.
    #[error("the bytes hold no HLO module")]
    NoModule,
}
