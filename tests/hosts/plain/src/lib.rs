//! Loading a plug-in.

use std::ffi::{CStr, CString, c_void};

pub struct Plugin(*mut c_void);

impl Plugin {
    pub fn load(path: &str) -> Plugin {
        let path = CString::new(path).expect("a path");
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "{:?}", unsafe { CStr::from_ptr(libc::dlerror()) });
        Plugin(handle)
    }

    pub fn call(&self, name: &CStr) -> i32 {
        let function = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!function.is_null(), "no function {name:?}");
        unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> i32>(function)() }
    }

    pub fn unload(self) {
        assert_eq!(unsafe { libc::dlclose(self.0) }, 0);
    }
}
