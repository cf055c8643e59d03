//! The floor that talks to the kernel, and the only one that knows which platform this is.
//!
//! Another platform is a folder beside `linux` that exports the same names.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod linux;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(crate) use linux::*;

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("multiproc runs on 64-bit Linux only, so far");
