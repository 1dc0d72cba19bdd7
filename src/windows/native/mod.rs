//! Calls into a host that is Windows itself: the only room where `unsafe` is allowed.
#![allow(unsafe_code)] // the Win32 API is reached in no other way

use std::fs::File;
use std::os::windows::io::AsRawHandle;

use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::FSCTL_SET_SPARSE;

/// Lets a file have holes. A file system that knows none (FAT) refuses, and the file is written out in full instead.
pub fn set_sparse(file: &File) {
    let mut returned = 0;
    // SAFETY: the handle is open for as long as `file` lives; the call takes no buffers and writes only `returned`.
    let ok = unsafe {
        let handle = file.as_raw_handle();
        let none = std::ptr::null_mut();
        DeviceIoControl(handle, FSCTL_SET_SPARSE, none, 0, none, 0, &mut returned, none.cast())
    };
    if ok == 0 {
        tracing::debug!("the output's file system has no sparse files");
    }
}
