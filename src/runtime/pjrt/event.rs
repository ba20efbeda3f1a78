//! Events: completion of work that a plugin queued, and its error if it failed.

use super::api::Plugin;
use super::ffi::{EventAwaitArgs, EventDestroyArgs, Handle, Struct};
use crate::runtime::error::Result;

/// An event of a plugin; freed when dropped.
pub(super) struct Event {
    plugin: Plugin,
    event: Handle,
}

impl Event {
    /// Takes ownership of an event from a call (null if there is nothing to wait for).
    pub(super) fn new(plugin: Plugin, event: Handle) -> Event {
        Event { plugin, event }
    }

    /// Blocks until the work is done. Returns its error, if it failed.
    pub(super) fn wait(self) -> Result<()> {
        if self.event.is_null() {
            return Ok(());
        }
        self.plugin.call(&mut EventAwaitArgs {
            event: self.event,
            ..EventAwaitArgs::new()
        })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.event.is_null() {
            self.plugin.call_quietly(&mut EventDestroyArgs {
                event: self.event,
                ..EventDestroyArgs::new()
            });
        }
    }
}
