//! Buffers: arrays in a device's memory.

use super::client::Client;
use super::event::Event;
use super::ffi::{
    self, BufferDestroyArgs, BufferDimensionsArgs, BufferElementTypeArgs, BufferIsDeletedArgs,
    BufferOnDeviceSizeArgs, BufferToHostBufferArgs, ClientBufferFromHostBufferArgs, Handle,
    MemoryLayout, Struct, TiledLayout,
};
use super::memory::slice;
use crate::graph::DType;
use crate::runtime::error::{Error, Result};

/// An array on one device; dropping it frees the memory. If the buffer is donated to an execution, its memory is reused and
/// later uses return [`Error::Donated`].
pub struct Buffer {
    client: Client,
    pub(super) buffer: Handle,
}

// SAFETY: PJRT buffers may be used from any thread.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Client {
    /// Copies `bytes` (row-major, native byte order) to the device at position `device` of [`Client::devices`].
    ///
    /// # Errors
    /// The number of bytes is not the shape's, the device does not exist, or the plugin fails.
    pub fn buffer(
        &self,
        bytes: &[u8],
        dtype: DType,
        dims: &[usize],
        device: usize,
    ) -> Result<Buffer> {
        let handle = self.device(device)?;
        let element_type = type_number(dtype).ok_or_else(|| {
            Error::Invalid(format!("a buffer cannot hold elements of type {dtype}"))
        })?;
        let needed = dims.iter().product::<usize>() * dtype.bytes();
        if bytes.len() != needed {
            return Err(Error::Invalid(format!(
                "{dtype}{dims:?} takes {needed} bytes, but {} were given",
                bytes.len()
            )));
        }
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        let mut args = ClientBufferFromHostBufferArgs {
            client: self.inner.client,
            data: bytes.as_ptr().cast(),
            element_type,
            dims: dims.as_ptr(),
            num_dims: dims.len(),
            // The plugin copies before it returns, so `bytes` need not outlive this call.
            host_buffer_semantics: ffi::IMMUTABLE_ONLY_DURING_CALL,
            device: handle,
            ..ClientBufferFromHostBufferArgs::new()
        };
        self.inner.plugin.call(&mut args)?;
        let buffer = Buffer::new(self.clone(), args.buffer);
        Event::new(self.inner.plugin, args.done_with_host_buffer).wait()?;
        Ok(buffer)
    }
}

impl Buffer {
    /// Takes ownership of one of the client's buffers.
    pub(super) fn new(client: Client, buffer: Handle) -> Buffer {
        Buffer { client, buffer }
    }

    /// The element type.
    ///
    /// # Errors
    /// This crate does not know the type.
    pub fn dtype(&self) -> Result<DType> {
        let mut args = BufferElementTypeArgs {
            buffer: self.buffer,
            ..BufferElementTypeArgs::new()
        };
        self.client.inner.plugin.call(&mut args)?;
        DType::ELEMENTS
            .into_iter()
            .find(|&dtype| type_number(dtype) == Some(args.element_type))
            .ok_or_else(|| {
                Error::Invalid(format!(
                    "the buffer has elements of unknown PJRT type {}",
                    args.element_type
                ))
            })
    }

    /// The sizes, major first.
    pub fn dims(&self) -> Result<Vec<usize>> {
        let mut args = BufferDimensionsArgs {
            buffer: self.buffer,
            ..BufferDimensionsArgs::new()
        };
        self.client.inner.plugin.call(&mut args)?;
        // SAFETY: the sizes live as long as the buffer.
        Ok(unsafe { slice(args.dims, args.num_dims) }
            .iter()
            .map(|&dim| dim as usize)
            .collect())
    }

    /// Bytes of device memory the buffer takes, including the device's padding.
    pub fn device_bytes(&self) -> Result<usize> {
        self.alive()?;
        let mut args = BufferOnDeviceSizeArgs {
            buffer: self.buffer,
            ..BufferOnDeviceSizeArgs::new()
        };
        self.client.inner.plugin.call(&mut args)?;
        Ok(args.size)
    }

    /// Whether the buffer was donated to an execution.
    pub fn is_donated(&self) -> Result<bool> {
        let mut args = BufferIsDeletedArgs {
            buffer: self.buffer,
            ..BufferIsDeletedArgs::new()
        };
        self.client.inner.plugin.call(&mut args)?;
        Ok(args.is_deleted)
    }

    /// Waits for the array's bytes and returns them, row-major and in native byte order whatever the device's layout.
    pub fn to_host(&self) -> Result<Vec<u8>> {
        self.alive()?;
        let dims = self.dims()?;
        let minor_to_major: Vec<i64> = (0..dims.len() as i64).rev().collect();
        let layout = MemoryLayout {
            tiled: TiledLayout {
                minor_to_major: minor_to_major.as_ptr(),
                minor_to_major_size: minor_to_major.len(),
                ..TiledLayout::new()
            },
            kind: ffi::LAYOUT_TILED,
            ..MemoryLayout::new()
        };
        let mut bytes = vec![0u8; dims.iter().product::<usize>() * self.dtype()?.bytes()];
        if bytes.is_empty() {
            return Ok(bytes);
        }
        let plugin = self.client.inner.plugin;
        let mut args = BufferToHostBufferArgs {
            buffer: self.buffer,
            host_layout: &layout,
            dst: bytes.as_mut_ptr().cast(),
            dst_size: bytes.len(),
            ..BufferToHostBufferArgs::new()
        };
        plugin.call(&mut args)?;
        // `bytes` is written until this event, so wait for it before any return.
        Event::new(plugin, args.event).wait()?;
        Ok(bytes)
    }

    /// Returns an error if the buffer was donated.
    pub(super) fn alive(&self) -> Result<()> {
        if self.is_donated()? {
            Err(Error::Donated(format!("a buffer of {}", self.describe())))
        } else {
            Ok(())
        }
    }

    /// The type and shape, as `f32[8, 4]`, if the plugin reports them.
    pub(super) fn describe(&self) -> String {
        match (self.dtype(), self.dims()) {
            (Ok(dtype), Ok(dims)) => format!("{dtype}{dims:?}"),
            _ => "unknown shape".to_string(),
        }
    }

    /// The client the buffer belongs to.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = self.buffer;
        self.client
            .inner
            .plugin
            .call_quietly(&mut BufferDestroyArgs {
                buffer,
                ..BufferDestroyArgs::new()
            });
    }
}

/// PJRT's number for an element type (`PJRT_Buffer_Type`).
pub(super) fn type_number(dtype: DType) -> Option<i32> {
    Some(match dtype {
        DType::Pred => 1,
        DType::S32 => 4,
        DType::U32 => 8,
        DType::F32 => 11,
        DType::F64 => 12,
        DType::BF16 => 13,
        DType::Tuple => return None,
    })
}
