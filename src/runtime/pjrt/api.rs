//! Loads plugins, and is the one place that calls them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::ffi::{
    self, Args, ErrorDestroyArgs, ErrorGetCodeArgs, ErrorMessageArgs, Function, Handle,
    PluginAttributesArgs, PluginInitializeArgs, Struct,
};
use super::memory::text;
use super::named_value;
use crate::runtime::error::{Code, Error, Result};
use crate::runtime::value::Value;

/// A loaded plugin. It is loaded once per process and kept until the process ends (plugins start threads that outlive any
/// handle), so this handle is cheap to copy.
#[derive(Clone, Copy)]
pub struct Plugin {
    loaded: &'static Loaded,
}

struct Loaded {
    path: PathBuf,
    /// The environment variables set for it.
    environment: Vec<(String, String)>,
    table: *const u8,
    table_size: usize,
    version: (i32, i32),
}

// SAFETY: the table is read-only after loading, and PJRT's functions may be called from any thread.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

/// Every plugin loaded in this process, by the library's canonical path.
static LOADED: Mutex<BTreeMap<PathBuf, &'static Loaded>> = Mutex::new(BTreeMap::new());

type Call = unsafe extern "C" fn(*mut c_void) -> Handle;
type CallWithoutAnswer = unsafe extern "C" fn(*mut c_void);

impl Plugin {
    /// Loads the plugin library at `path`, or returns it if already loaded. First sets each variable of `environment` that is
    /// not set yet: plugins read their variables only when loaded.
    ///
    /// # Errors
    /// [`Error::Load`] if the library cannot be loaded, exports no `GetPjrtApi` or has another major version, and
    /// [`Error::LoadedOtherwise`] if it was loaded with variables that `environment` does not have.
    pub fn load(path: &Path, environment: &[(&str, &str)]) -> Result<Plugin> {
        let refused = |reason: String| Error::Load {
            path: path.to_path_buf(),
            reason,
        };
        let real = path
            .canonicalize()
            .map_err(|error| refused(error.to_string()))?;
        // One load at a time: the environment is set and read, and each plugin is initialised exactly once.
        let mut plugins = LOADED
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(loaded) = plugins.get(&real) {
            if !loaded.environment.is_empty() && environment.is_empty() {
                return Err(Error::LoadedOtherwise { path: real });
            }
            return Ok(Plugin { loaded });
        }
        set_environment(environment);
        // SAFETY: loading runs the library's initialisers. The user named the library, or it was checked against a pinned
        // hash; nothing more can be known about it here.
        let library = unsafe { libloading::Library::new(&real) }
            .map_err(|error| refused(error.to_string()))?;
        // Never unloaded, even if what follows fails: its threads may run until the process ends.
        let library = Box::leak(Box::new(library));
        // SAFETY: this is the signature of the one symbol that every PJRT plugin exports.
        let entry = unsafe { library.get::<unsafe extern "C" fn() -> *const u8>(b"GetPjrtApi\0") }
            .map_err(|_| refused("it exports no GetPjrtApi: not a PJRT plugin".to_string()))?;
        // SAFETY: GetPjrtApi takes no arguments and returns a table that lives as long as the process.
        let table = unsafe { entry() };
        if table.is_null() {
            return Err(refused("GetPjrtApi returned no table".to_string()));
        }
        // SAFETY: in all versions of the interface, every table begins with its size and version at these offsets.
        let (table_size, version) = unsafe {
            let version = table.add(ffi::VERSION_OFFSET).cast::<i32>();
            (
                table.cast::<usize>().read(),
                (version.read(), version.add(1).read()),
            )
        };
        if version.0 != ffi::MAJOR {
            let (major, minor) = version;
            return Err(refused(format!(
                "it uses PJRT {major}.{minor}, but this program needs PJRT {}.x",
                ffi::MAJOR
            )));
        }
        let environment = environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let loaded = Box::leak(Box::new(Loaded {
            path: real.clone(),
            environment,
            table,
            table_size,
            version,
        }));
        let plugin = Plugin { loaded };
        plugin.call(&mut PluginInitializeArgs::new())?;
        plugins.insert(real, loaded);
        Ok(plugin)
    }

    /// The library's path.
    pub fn path(&self) -> &Path {
        &self.loaded.path
    }

    /// The plugin's version of the PJRT interface, major and minor.
    pub fn pjrt_version(&self) -> (i32, i32) {
        self.loaded.version
    }

    /// The plugin's attributes, such as the version of XLA it was built from.
    pub fn attributes(&self) -> Result<BTreeMap<String, Value>> {
        let mut args = PluginAttributesArgs::new();
        self.call(&mut args)?;
        // SAFETY: the attributes live as long as the process, and there are `num_attributes` of them.
        Ok(unsafe { named_value::read_all(args.attributes, args.num_attributes) })
    }

    /// Calls the function that `args` belongs to. Every plugin call goes through here, so no call reaches past the end of the
    /// plugin's table and no error is dropped.
    pub(super) fn call<A: Args>(&self, args: &mut A) -> Result<()> {
        let function = self.function(A::FUNCTION)?;
        // SAFETY: all entries of the table except the two used in `error` have this signature.
        let function: Call = unsafe { std::mem::transmute(function) };
        // SAFETY: `A` is the struct this function takes, with its size set; the caller keeps what it points to alive
        // during this call.
        let error = unsafe { function((args as *mut A).cast()) };
        if error.is_null() {
            Ok(())
        } else {
            Err(self.error(A::FUNCTION, error))
        }
    }

    /// As [`Plugin::call`], for destructors, which cannot report errors.
    pub(super) fn call_quietly<A: Args>(&self, args: &mut A) {
        let _ = self.call(args);
    }

    /// The function's pointer in the plugin's table, if the table reaches that far.
    fn function(&self, function: Function) -> Result<*const c_void> {
        let offset = function.offset();
        let pointer = if offset + size_of::<usize>() <= self.loaded.table_size {
            // SAFETY: the entry is within the table's own size.
            unsafe { self.loaded.table.add(offset).cast::<*const c_void>().read() }
        } else {
            std::ptr::null()
        };
        if pointer.is_null() {
            let (major, minor) = self.loaded.version;
            let path = self.loaded.path.clone();
            return Err(Error::Unimplemented {
                function: function.name(),
                path,
                major,
                minor,
            });
        }
        Ok(pointer)
    }

    /// Reads a plugin's error and frees it.
    fn error(&self, function: Function, error: Handle) -> Error {
        let mut code = ErrorGetCodeArgs {
            error,
            ..ErrorGetCodeArgs::new()
        };
        let number = match self.call(&mut code) {
            Ok(()) => code.code,
            Err(_) => 2, // the plugin cannot report even the code: "unknown"
        };
        let mut message = ErrorMessageArgs {
            error,
            ..ErrorMessageArgs::new()
        };
        let mut destroy = ErrorDestroyArgs {
            error,
            ..ErrorDestroyArgs::new()
        };
        let text = match (
            self.function(Function::Error_Message),
            self.function(Function::Error_Destroy),
        ) {
            (Ok(read), Ok(free)) => {
                // SAFETY: these two entries return nothing and take these structs; the message lives until the error
                // is freed, which happens once, after the message was copied.
                unsafe {
                    std::mem::transmute::<*const c_void, CallWithoutAnswer>(read)(
                        (&raw mut message).cast(),
                    );
                    let text = text(message.message, message.message_size);
                    std::mem::transmute::<*const c_void, CallWithoutAnswer>(free)(
                        (&raw mut destroy).cast(),
                    );
                    text
                }
            }
            _ => "(the plugin has no error messages)".to_string(),
        };
        Error::from_plugin(function.name(), Code::from_number(number), text)
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.loaded.version;
        write!(
            f,
            "Plugin({}, PJRT {major}.{minor})",
            self.loaded.path.display()
        )
    }
}

impl PartialEq for Plugin {
    fn eq(&self, other: &Plugin) -> bool {
        std::ptr::eq(self.loaded, other.loaded)
    }
}

fn set_environment(environment: &[(&str, &str)]) {
    for (name, value) in environment {
        if std::env::var_os(OsStr::new(name)).is_none() {
            // SAFETY: Rust's own readers and writers of the environment take a lock; C code of an earlier plugin could read it
            // at this moment. This happens once per process and library, with the lock of `LOADED` held, and there is no
            // other way to pass a setting that a library reads from its environment while it loads.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::runtime::pjrt::ffi::{CompileArgs, PluginAttributesArgs};

    static FREED: AtomicUsize = AtomicUsize::new(0);
    const MESSAGE: &str = "the attributes are gone\n";

    unsafe extern "C" fn destroy(_: *mut ErrorDestroyArgs) {
        FREED.fetch_add(1, Ordering::SeqCst);
    }

    unsafe extern "C" fn message(args: *mut ErrorMessageArgs) {
        // SAFETY: called through `Plugin::call` with this struct.
        unsafe {
            ((*args).message, (*args).message_size) = (MESSAGE.as_ptr().cast(), MESSAGE.len())
        }
    }

    unsafe extern "C" fn code(args: *mut ErrorGetCodeArgs) -> Handle {
        // SAFETY: as above.
        unsafe { (*args).code = 5 };
        std::ptr::null_mut()
    }

    unsafe extern "C" fn attributes(args: *mut PluginAttributesArgs) -> Handle {
        // SAFETY: as above. The struct states the header's size.
        assert_eq!(unsafe { (*args).struct_size }, PluginAttributesArgs::SIZE);
        args.cast()
    }

    /// An old plugin, whose table ends after `PJRT_Plugin_Attributes` and which fails to return attributes.
    fn old_plugin() -> Plugin {
        let header = ffi::TABLE_HEADER / size_of::<usize>();
        let mut table = vec![0usize; header];
        let initialize = 0;
        table.extend([
            destroy as *const () as usize,
            message as *const () as usize,
            code as *const () as usize,
        ]);
        table.extend([initialize, attributes as *const () as usize]);
        let table_size = table.len() * size_of::<usize>();
        // One entry past the table's stated end: it must not be read.
        table.extend([usize::MAX; 200]);
        let table = Box::leak(table.into_boxed_slice()).as_ptr().cast();
        let path = PathBuf::from("old.so");
        Plugin {
            loaded: Box::leak(Box::new(Loaded {
                path,
                environment: Vec::new(),
                table,
                table_size,
                version: (0, 7),
            })),
        }
    }

    #[test]
    fn a_function_past_the_end_of_the_table_is_not_called() {
        let plugin = old_plugin();
        let error = plugin
            .call(&mut CompileArgs::new())
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the plugin old.so (PJRT 0.7) has no PJRT_Compile; a newer plugin is needed"
        );
        // An entry within the table that the plugin left empty.
        let error = plugin
            .call(&mut PluginInitializeArgs::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains("has no PJRT_Plugin_Initialize"), "{error}");
    }

    #[test]
    fn a_plugins_error_is_read_and_freed_once() {
        let error = old_plugin().attributes().unwrap_err();
        assert_eq!(
            error.to_string(),
            "PJRT_Plugin_Attributes: not found: the attributes are gone"
        );
        assert_eq!(FREED.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_is_no_plugin_is_not_loaded() {
        let load = |path: &str| Plugin::load(Path::new(path), &[]).unwrap_err().to_string();
        assert!(load("gone.so").starts_with("cannot load the plugin gone.so: "));
        // A library on every supported machine that is not a plugin.
        let places = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/libc.so.6",
            "/usr/lib/libc.so.6",
        ];
        let libc = places
            .into_iter()
            .find(|path| Path::new(path).is_file())
            .unwrap();
        assert!(load(libc).ends_with(": it exports no GetPjrtApi: not a PJRT plugin"));
    }
}
