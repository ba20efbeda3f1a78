//! The C interface in Rust: the order of the function table, and the argument structs of the functions that this crate
//! calls, written by hand from `pjrt_c_api.h` (API 0.81, in the CPU plugin's wheel).
//!
//! The interface only grows: the table and the argument structs get new entries at their ends, and every struct begins with
//! its own size, so a program written against 0.81 also drives later plugins. This side must state the size it knows
//! (`Args::SIZE`) and not call past the end of a plugin's table (`api.rs`).

use std::ffi::{c_char, c_int, c_void};

/// An opaque pointer to a plugin's object (a client, a buffer, an error).
pub(super) type Handle = *mut c_void;

macro_rules! functions {
    ($($name:ident,)*) => {
        /// The functions of the table, in order: the discriminant is the position.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, dead_code)] // named as in the header; not all are called
        pub(super) enum Function { $($name,)* }

        impl Function {
            /// The name in the header.
            pub(super) fn name(self) -> &'static str {
                match self { $(Function::$name => concat!("PJRT_", stringify!($name)),)* }
            }
        }
    };
}

functions! {
    Error_Destroy,
    Error_Message,
    Error_GetCode,
    Plugin_Initialize,
    Plugin_Attributes,
    Event_Destroy,
    Event_IsReady,
    Event_Error,
    Event_Await,
    Event_OnReady,
    Client_Create,
    Client_Destroy,
    Client_PlatformName,
    Client_ProcessIndex,
    Client_PlatformVersion,
    Client_Devices,
    Client_AddressableDevices,
    Client_LookupDevice,
    Client_LookupAddressableDevice,
    Client_AddressableMemories,
    Client_Compile,
    Client_DefaultDeviceAssignment,
    Client_BufferFromHostBuffer,
    DeviceDescription_Id,
    DeviceDescription_ProcessIndex,
    DeviceDescription_Attributes,
    DeviceDescription_Kind,
    DeviceDescription_DebugString,
    DeviceDescription_ToString,
    Device_GetDescription,
    Device_IsAddressable,
    Device_LocalHardwareId,
    Device_AddressableMemories,
    Device_DefaultMemory,
    Device_MemoryStats,
    Memory_Id,
    Memory_Kind,
    Memory_DebugString,
    Memory_ToString,
    Memory_AddressableByDevices,
    Executable_Destroy,
    Executable_Name,
    Executable_NumReplicas,
    Executable_NumPartitions,
    Executable_NumOutputs,
    Executable_SizeOfGeneratedCodeInBytes,
    Executable_GetCostAnalysis,
    Executable_OutputMemoryKinds,
    Executable_OptimizedProgram,
    Executable_Serialize,
    LoadedExecutable_Destroy,
    LoadedExecutable_GetExecutable,
    LoadedExecutable_AddressableDevices,
    LoadedExecutable_Delete,
    LoadedExecutable_IsDeleted,
    LoadedExecutable_Execute,
    Executable_DeserializeAndLoad,
    LoadedExecutable_Fingerprint,
    Buffer_Destroy,
    Buffer_ElementType,
    Buffer_Dimensions,
    Buffer_UnpaddedDimensions,
    Buffer_DynamicDimensionIndices,
    Buffer_GetMemoryLayout,
    Buffer_OnDeviceSizeInBytes,
    Buffer_Device,
    Buffer_Memory,
    Buffer_Delete,
    Buffer_IsDeleted,
    Buffer_CopyToDevice,
    Buffer_ToHostBuffer,
    Buffer_IsOnCpu,
    Buffer_ReadyEvent,
    Buffer_UnsafePointer,
    Buffer_IncreaseExternalReferenceCount,
    Buffer_DecreaseExternalReferenceCount,
    Buffer_OpaqueDeviceMemoryDataPointer,
    CopyToDeviceStream_Destroy,
    CopyToDeviceStream_AddChunk,
    CopyToDeviceStream_TotalBytes,
    CopyToDeviceStream_GranuleSize,
    CopyToDeviceStream_CurrentBytes,
    TopologyDescription_Create,
    TopologyDescription_Destroy,
    TopologyDescription_PlatformName,
    TopologyDescription_PlatformVersion,
    TopologyDescription_GetDeviceDescriptions,
    TopologyDescription_Serialize,
    TopologyDescription_Attributes,
    Compile,
    Executable_OutputElementTypes,
    Executable_OutputDimensions,
    Buffer_CopyToMemory,
    Client_CreateViewOfDeviceBuffer,
    Executable_Fingerprint,
    Client_TopologyDescription,
    Executable_GetCompiledMemoryStats,
    Memory_Kind_Id,
    ExecuteContext_Create,
    ExecuteContext_Destroy,
    Buffer_CopyRawToHost,
    AsyncHostToDeviceTransferManager_Destroy,
    AsyncHostToDeviceTransferManager_TransferData,
    Client_CreateBuffersForAsyncHostToDevice,
    AsyncHostToDeviceTransferManager_RetrieveBuffer,
    AsyncHostToDeviceTransferManager_Device,
    AsyncHostToDeviceTransferManager_BufferCount,
    AsyncHostToDeviceTransferManager_BufferSize,
    AsyncHostToDeviceTransferManager_SetBufferError,
    AsyncHostToDeviceTransferManager_AddMetadata,
    Client_DmaMap,
    Client_DmaUnmap,
    Client_CreateUninitializedBuffer,
    Client_UpdateGlobalProcessInfo,
    TopologyDescription_Deserialize,
    Client_CreateAliasBuffer,
    Client_FulfillAliasBuffer,
    LoadedExecutable_GetDeviceAssignment,
}

/// Bytes before the first function: the table's size, its extension pointer, and a version of two sizes and two ints.
pub(super) const TABLE_HEADER: usize = 40;

/// The offset of the table's major version (an int; the minor one follows).
pub(super) const VERSION_OFFSET: usize = 32;

/// The major version this file was written for.
pub(super) const MAJOR: i32 = 0;

impl Function {
    /// The offset of the function's pointer in the table, in bytes.
    pub(super) fn offset(self) -> usize {
        TABLE_HEADER + self as usize * size_of::<usize>()
    }
}

/// An argument struct of the interface.
///
/// # Safety
/// The type is `repr(C)` with the layout of the header's struct for `FUNCTION` (or of the struct it represents), begins with
/// its size and extension pointer, and is valid with every byte zero.
pub(super) unsafe trait Struct: Sized {
    /// The size in the header of 0.81: the end of the last field, without trailing padding.
    const SIZE: usize;

    /// The struct with its size set and everything else zero.
    fn new() -> Self;
}

/// An argument struct that belongs to one function.
///
/// # Safety
/// The struct is the one that `FUNCTION` takes.
pub(super) unsafe trait Args: Struct {
    /// The function that takes this struct.
    const FUNCTION: Function;
}

const fn largest(ends: &[usize]) -> usize {
    let (mut at, mut most) = (0, 0);
    while at < ends.len() {
        if ends[at] > most {
            most = ends[at];
        }
        at += 1;
    }
    most
}

macro_rules! structs {
    ($($name:ident $(for $function:ident)? { $($field:ident: $type:ty,)* })*) => {$(
        #[repr(C)]
        #[allow(dead_code)] // fields that only the plugin reads
        pub(super) struct $name {
            pub(super) struct_size: usize,
            pub(super) extension_start: Handle,
            $(pub(super) $field: $type,)*
        }

        // SAFETY: the fields are the header's, in its order, and each is an integer, a boolean, a float, a raw
        // pointer or an optional function pointer, for all of which zero is a value.
        unsafe impl Struct for $name {
            const SIZE: usize = largest(&[
                2 * size_of::<usize>(),
                $(std::mem::offset_of!($name, $field) + size_of::<$type>(),)*
            ]);

            fn new() -> Self {
                // SAFETY: zero is valid for every field, see above.
                let mut args: Self = unsafe { std::mem::zeroed() };
                args.struct_size = Self::SIZE;
                args
            }
        }

        $(
            // SAFETY: the header declares the function with this struct.
            unsafe impl Args for $name {
                const FUNCTION: Function = Function::$function;
            }
        )?
    )*

        /// The sizes of all structs, for the tests.
        #[cfg(test)]
        fn sizes() -> Vec<(&'static str, usize)> {
            vec![$((stringify!($name), $name::SIZE),)*]
        }
    };
}

/// Frees what the plugin allocated for a call's result.
pub(super) type Deleter = Option<unsafe extern "C" fn(Handle)>;

structs! {
    ErrorDestroyArgs { error: Handle, }
    ErrorMessageArgs { error: Handle, message: *const c_char, message_size: usize, }
    ErrorGetCodeArgs for Error_GetCode { error: Handle, code: c_int, }

    NamedValue {
        name: *const c_char, name_size: usize, kind: c_int, value: NamedValuePayload, value_size: usize,
    }

    PluginInitializeArgs for Plugin_Initialize {}
    PluginAttributesArgs for Plugin_Attributes { attributes: *const NamedValue, num_attributes: usize, }

    EventDestroyArgs for Event_Destroy { event: Handle, }
    EventAwaitArgs for Event_Await { event: Handle, }

    ClientCreateArgs for Client_Create {
        create_options: *const NamedValue, num_options: usize,
        kv_get_callback: Deleter, kv_get_user_arg: Handle, kv_put_callback: Deleter, kv_put_user_arg: Handle,
        client: Handle,
        kv_try_get_callback: Deleter, kv_try_get_user_arg: Handle,
    }
    ClientDestroyArgs for Client_Destroy { client: Handle, }
    ClientPlatformNameArgs for Client_PlatformName { client: Handle, text: *const c_char, size: usize, }
    ClientPlatformVersionArgs for Client_PlatformVersion { client: Handle, text: *const c_char, size: usize, }
    ClientAddressableDevicesArgs for Client_AddressableDevices {
        client: Handle, devices: *const Handle, num_devices: usize,
    }
    ClientCompileArgs for Client_Compile {
        client: Handle, program: *const Program, compile_options: *const c_char, compile_options_size: usize,
        executable: Handle,
    }
    ClientBufferFromHostBufferArgs for Client_BufferFromHostBuffer {
        client: Handle, data: *const c_void, element_type: c_int, dims: *const i64, num_dims: usize,
        byte_strides: *const i64, num_byte_strides: usize, host_buffer_semantics: c_int,
        device: Handle, memory: Handle, device_layout: *const MemoryLayout,
        done_with_host_buffer: Handle, buffer: Handle,
    }

    Program { code: *mut c_char, code_size: usize, format: *const c_char, format_size: usize, }

    DeviceGetDescriptionArgs for Device_GetDescription { device: Handle, description: Handle, }
    DeviceDescriptionIdArgs for DeviceDescription_Id { description: Handle, id: c_int, }
    DeviceDescriptionProcessIndexArgs for DeviceDescription_ProcessIndex { description: Handle, index: c_int, }
    DeviceDescriptionAttributesArgs for DeviceDescription_Attributes {
        description: Handle, num_attributes: usize, attributes: *const NamedValue,
    }
    DeviceDescriptionKindArgs for DeviceDescription_Kind { description: Handle, text: *const c_char, size: usize, }

    TopologyCreateArgs for TopologyDescription_Create {
        name: *const c_char, name_size: usize, create_options: *const NamedValue, num_options: usize,
        topology: Handle,
    }
    TopologyDestroyArgs for TopologyDescription_Destroy { topology: Handle, }
    TopologyPlatformNameArgs for TopologyDescription_PlatformName {
        topology: Handle, text: *const c_char, size: usize,
    }
    TopologyPlatformVersionArgs for TopologyDescription_PlatformVersion {
        topology: Handle, text: *const c_char, size: usize,
    }
    TopologyGetDeviceDescriptionsArgs for TopologyDescription_GetDeviceDescriptions {
        topology: Handle, descriptions: *const Handle, num_descriptions: usize,
    }
    CompileArgs for Compile {
        topology: Handle, program: *const Program, compile_options: *const c_char, compile_options_size: usize,
        client: Handle, executable: Handle,
    }

    ExecutableDestroyArgs for Executable_Destroy { executable: Handle, }
    ExecutableNameArgs for Executable_Name { executable: Handle, text: *const c_char, size: usize, }
    ExecutableNumOutputsArgs for Executable_NumOutputs { executable: Handle, num_outputs: usize, }
    ExecutableNumPartitionsArgs for Executable_NumPartitions { executable: Handle, num_partitions: usize, }
    ExecutableFingerprintArgs for Executable_Fingerprint { executable: Handle, text: *const c_char, size: usize, }
    ExecutableGetCostAnalysisArgs for Executable_GetCostAnalysis {
        executable: Handle, num_properties: usize, properties: *const NamedValue,
    }
    ExecutableGetCompiledMemoryStatsArgs for Executable_GetCompiledMemoryStats {
        executable: Handle,
        generated_code_size: i64, argument_size: i64, output_size: i64, alias_size: i64, temp_size: i64,
        host_generated_code_size: i64, host_argument_size: i64, host_output_size: i64, host_alias_size: i64,
        host_temp_size: i64,
        peak_memory: i64,
    }
    ExecutableOptimizedProgramArgs for Executable_OptimizedProgram { executable: Handle, program: *mut Program, }
    ExecutableSerializeArgs for Executable_Serialize {
        executable: Handle, bytes: *const c_char, size: usize, backing: Handle, deleter: Deleter,
    }
    ExecutableDeserializeAndLoadArgs for Executable_DeserializeAndLoad {
        client: Handle, bytes: *const c_char, size: usize, executable: Handle,
        options: *const c_char, options_size: usize,
    }

    LoadedExecutableDestroyArgs for LoadedExecutable_Destroy { executable: Handle, }
    LoadedExecutableGetExecutableArgs for LoadedExecutable_GetExecutable { loaded: Handle, executable: Handle, }
    LoadedExecutableAddressableDevicesArgs for LoadedExecutable_AddressableDevices {
        executable: Handle, devices: *const Handle, num_devices: usize,
    }
    ExecuteOptions {
        send_callbacks: Handle, recv_callbacks: Handle, num_send_ops: usize, num_recv_ops: usize,
        launch_id: c_int, non_donatable_input_indices: *const i64, num_non_donatable_input_indices: usize,
        context: Handle, call_location: *const c_char,
        num_tasks: usize, task_ids: *const c_int, incarnation_ids: *const i64,
    }
    LoadedExecutableExecuteArgs for LoadedExecutable_Execute {
        executable: Handle, options: *const ExecuteOptions, argument_lists: *const *const Handle,
        num_devices: usize, num_args: usize, output_lists: *const *mut Handle,
        device_complete_events: *mut Handle, execute_device: Handle,
    }

    BufferDestroyArgs for Buffer_Destroy { buffer: Handle, }
    BufferElementTypeArgs for Buffer_ElementType { buffer: Handle, element_type: c_int, }
    BufferDimensionsArgs for Buffer_Dimensions { buffer: Handle, dims: *const i64, num_dims: usize, }
    BufferOnDeviceSizeArgs for Buffer_OnDeviceSizeInBytes { buffer: Handle, size: usize, }
    BufferIsDeletedArgs for Buffer_IsDeleted { buffer: Handle, is_deleted: bool, }
    BufferToHostBufferArgs for Buffer_ToHostBuffer {
        buffer: Handle, host_layout: *const MemoryLayout, dst: *mut c_void, dst_size: usize, event: Handle,
    }

    TiledLayout {
        minor_to_major: *const i64, minor_to_major_size: usize, tile_dims: *const i64,
        tile_dim_sizes: *const usize, num_tiles: usize,
    }
    // The header has a union of a tiled layout and a shorter strided one; only the tiled one is used here.
    MemoryLayout { tiled: TiledLayout, kind: c_int, }
}

/// The contents of a named value, by its kind.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union NamedValuePayload {
    pub(super) string: *const c_char,
    pub(super) int: i64,
    pub(super) ints: *const i64,
    pub(super) float: f32,
    pub(super) boolean: bool,
}

/// `PJRT_NamedValue_Type`.
pub(super) mod named_value {
    use std::ffi::c_int;

    pub(in super::super) const STRING: c_int = 0;
    pub(in super::super) const INT: c_int = 1;
    pub(in super::super) const INTS: c_int = 2;
    pub(in super::super) const FLOAT: c_int = 3;
    pub(in super::super) const BOOL: c_int = 4;
}

/// `PJRT_HostBufferSemantics_kImmutableOnlyDuringCall`: the plugin has copied the data when the call returns.
pub(super) const IMMUTABLE_ONLY_DURING_CALL: c_int = 0;

/// `PJRT_Buffer_MemoryLayout_Type_Tiled`.
pub(super) const LAYOUT_TILED: c_int = 0;

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of a C compiler on x86_64 for `PJRT_..._STRUCT_SIZE` of the header of 0.81, and of
    /// `offsetof(PJRT_Api, ...)` for a few functions from all parts of the table.
    #[test]
    fn sizes_and_offsets_are_those_of_the_header() {
        assert_eq!(sizes(), SIZES);
        let offsets = [
            (Function::Error_Destroy, 40),
            (Function::Client_Create, 120),
            (Function::Client_Compile, 200),
            (Function::Compile, 752),
            (Function::Executable_GetCompiledMemoryStats, 808),
            (Function::LoadedExecutable_GetDeviceAssignment, 976),
            (Function::Buffer_ToHostBuffer, 600),
            (Function::Executable_OptimizedProgram, 424),
        ];
        for (function, offset) in offsets {
            assert_eq!(function.offset(), offset, "{}", function.name());
        }
    }

    const SIZES: [(&str, usize); 50] = [
        ("ErrorDestroyArgs", 24),
        ("ErrorMessageArgs", 40),
        ("ErrorGetCodeArgs", 28),
        ("NamedValue", 56),
        ("PluginInitializeArgs", 16),
        ("PluginAttributesArgs", 32),
        ("EventDestroyArgs", 24),
        ("EventAwaitArgs", 24),
        ("ClientCreateArgs", 88),
        ("ClientDestroyArgs", 24),
        ("ClientPlatformNameArgs", 40),
        ("ClientPlatformVersionArgs", 40),
        ("ClientAddressableDevicesArgs", 40),
        ("ClientCompileArgs", 56),
        ("ClientBufferFromHostBufferArgs", 120),
        ("Program", 48),
        ("DeviceGetDescriptionArgs", 32),
        ("DeviceDescriptionIdArgs", 28),
        ("DeviceDescriptionProcessIndexArgs", 28),
        ("DeviceDescriptionAttributesArgs", 40),
        ("DeviceDescriptionKindArgs", 40),
        ("TopologyCreateArgs", 56),
        ("TopologyDestroyArgs", 24),
        ("TopologyPlatformNameArgs", 40),
        ("TopologyPlatformVersionArgs", 40),
        ("TopologyGetDeviceDescriptionsArgs", 40),
        ("CompileArgs", 64),
        ("ExecutableDestroyArgs", 24),
        ("ExecutableNameArgs", 40),
        ("ExecutableNumOutputsArgs", 32),
        ("ExecutableNumPartitionsArgs", 32),
        ("ExecutableFingerprintArgs", 40),
        ("ExecutableGetCostAnalysisArgs", 40),
        ("ExecutableGetCompiledMemoryStatsArgs", 112),
        ("ExecutableOptimizedProgramArgs", 32),
        ("ExecutableSerializeArgs", 56),
        ("ExecutableDeserializeAndLoadArgs", 64),
        ("LoadedExecutableDestroyArgs", 24),
        ("LoadedExecutableGetExecutableArgs", 32),
        ("LoadedExecutableAddressableDevicesArgs", 40),
        ("ExecuteOptions", 112),
        ("LoadedExecutableExecuteArgs", 80),
        ("BufferDestroyArgs", 24),
        ("BufferElementTypeArgs", 28),
        ("BufferDimensionsArgs", 40),
        ("BufferOnDeviceSizeArgs", 32),
        ("BufferIsDeletedArgs", 25),
        ("BufferToHostBufferArgs", 56),
        ("TiledLayout", 56),
        ("MemoryLayout", 76),
    ];
}
