//! Reads a plugin's arrays and texts, given as a pointer and a length.

use std::ffi::c_char;

/// A copy of `size` bytes of a plugin's text.
///
/// # Safety
/// `start` points to `size` readable bytes, or `size` is zero.
pub(super) unsafe fn text(start: *const c_char, size: usize) -> String {
    // SAFETY: the caller's promise.
    String::from_utf8_lossy(unsafe { slice(start.cast::<u8>(), size) }).into_owned()
}

/// A plugin's array as a slice; empty arrays may come as null pointers.
///
/// # Safety
/// `start` points to `len` readable values that live unchanged for `'a`, or `len` is zero.
pub(super) unsafe fn slice<'a, T>(start: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        &[]
    } else {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(start, len) }
    }
}
