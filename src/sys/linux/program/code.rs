//! Where code is: how a function crosses to another process that runs the same file.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, OnceLock};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys::parcel::Parcel;

/// The one address that offsets are counted from.
///
/// A static and not a function: a small function is instantiated in every crate that inlines it,
/// and offsets from its copies would differ. Mutable, so that the compiler cannot merge it with
/// another.
static BASE: AtomicU8 = AtomicU8::new(0);

/// The one signature that crosses: encoded arguments with their descriptors in, encoded result out.
///
/// What a call site crosses with is its own instance of a generic function of this signature (see
/// `target`).
pub(crate) type Entry = fn(&[u8], Vec<Arc<OwnedFd>>) -> Result<Parcel, Refusal>;

/// Why an entry gave no result.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The arguments could not be decoded, so the function did not run.
    Arguments(String),
    /// The function ran, but what it returned could not be encoded.
    Result(String),
}

/// The address of an entry as it crosses: its distance from `BASE`, the same in every process of
/// the same file.
///
/// One that was decoded is from the process that started us (nobody else holds the other end of our
/// socket), which runs the same file (checked at the start) and made it with `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offset(u64);

impl Offset {
    /// That of `entry`, or `None` if it is not part of the main program (but of a library, which
    /// the child may have elsewhere or not at all).
    pub(crate) fn of(entry: Entry) -> Option<Offset> {
        Offset::of_address(entry as usize)
    }

    /// The offset of an address, or `None` if it is not in the main program's code.
    fn of_address(address: usize) -> Option<Offset> {
        layout().contains_code(address).then(|| Offset((address as u64).wrapping_sub(base())))
    }

    /// The address here, or `None` if it is not in the main program's code.
    fn address(self) -> Option<usize> {
        let address = usize::try_from(base().wrapping_add(self.0)).ok()?;
        layout().contains_code(address).then_some(address)
    }

    /// The entry that it names here, if it lies in this program's code.
    pub(crate) fn entry(self) -> Option<Entry> {
        let address = self.address()?;
        // SAFETY: made by `of` from an `Entry`, in this process or in one of the same file, where
        // the same distance from `BASE` leads to the same code (see the type).
        Some(unsafe { function_at(address) })
    }
}

/// The address of `BASE` in this process.
fn base() -> u64 {
    (&raw const BASE) as u64
}

/// A function pointer of safe Rust: `fn() -> R` to `fn(A, .., H) -> R`.
///
/// [`Process::from_pointer`](crate::Process::from_pointer) takes one. The trait is sealed: it is
/// implemented for the pointer types of 0 to 8 arguments and for nothing else. A function item is
/// no pointer until it is coerced, `let f: fn(i32) -> i32 = double;`.
///
/// ```
/// use multiproc::{FnPointer, Process};
///
/// fn launch<P>(pointer: P) -> multiproc::Result<u32>
/// where
///     P: multiproc::Target<(u32,), Output = u32> + FnPointer,
/// {
///     Ok(Process::from_pointer(pointer, (20,)).start()?.join()?)
/// }
///
/// fn next(number: u32) -> u32 {
///     number + 1
/// }
///
/// assert_eq!(launch(next as fn(u32) -> u32)?, 21);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function pointer",
    label = "not a value of a type `fn(..) -> ..`",
    note = "a function's name or a closure that captures nothing is a target for `Process::new`",
    note = "to make a pointer of it, write its type: `double as fn(i32) -> i32`"
)]
pub trait FnPointer: Copy + sealed::Address {}

mod sealed {
    /// Implemented for `fn(..)` types only: [`Crossing`](super::Crossing) makes values of the
    /// implementing type from an address.
    pub trait Address {
        /// Returns where the function's code begins.
        fn address(self) -> usize;
    }
}

macro_rules! impl_fn_pointer {
    ($($Type:ident)*) => {
        impl<Output, $($Type),*> FnPointer for fn($($Type),*) -> Output {}

        impl<Output, $($Type),*> sealed::Address for fn($($Type),*) -> Output {
            fn address(self) -> usize {
                self as usize
            }
        }
    };
}

impl_fn_pointer!();
impl_fn_pointer!(A);
impl_fn_pointer!(A B);
impl_fn_pointer!(A B C);
impl_fn_pointer!(A B C D);
impl_fn_pointer!(A B C D E);
impl_fn_pointer!(A B C D E F);
impl_fn_pointer!(A B C D E F G);
impl_fn_pointer!(A B C D E F G H);

/// A function pointer on its way to a child: as bytes, the [`Offset`] of its function.
///
/// Bytes do not prove which type of pointer was encoded, so decoding one is sound only under two
/// conditions. Both hold for arguments of `target::pointer_entry`, the only user:
///
/// 1. It is the first value of the message. The library's own code writes it before any
///    `Serialize` implementation of a user runs, so no user can put a number of his own there.
/// 2. The message comes from the process that started this one, together with the entry that
///    decodes it. The entry is compiled for one `P`, as was the call that encoded the message.
///
/// Do not make the type public, and do not let it stand in a result or a message of a channel: a
/// child could then forge a pointer that the parent calls.
#[derive(Clone, Copy)]
pub(crate) struct Crossing<P>(pub(crate) P);

impl<P: FnPointer> Serialize for Crossing<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Offset::of_address(self.0.address()) {
            Some(offset) => offset.serialize(serializer),
            None => Err(S::Error::custom("the function pointer leads to code of a library")),
        }
    }
}

impl<'de, P: FnPointer> Deserialize<'de> for Crossing<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Crossing<P>, D::Error> {
        let address = Offset::deserialize(deserializer)?.address().ok_or_else(|| {
            D::Error::custom("a function pointer leads to no code of this program")
        })?;
        // SAFETY: `P` is a type `fn(..)`, as the trait is sealed. The address was one of a `P`
        // where it was encoded: see the type for why nobody can have written another.
        Ok(Crossing(unsafe { function_at(address) }))
    }
}

/// The proof, at compile time, that a type has no content. One constant for all who ask, so that
/// the compiler complains once.
pub(crate) struct Contentless<F>(PhantomData<F>);

impl<F> Contentless<F> {
    pub(crate) const PROOF: () = assert!(
        size_of::<F>() == 0,
        "a target must be a function itself or a closure that captures nothing: pass what a \
         closure captures as arguments, `Process::new(|x: T| .., (x,))`, or fork with \
         `Process::from_closure`; a variable of a type `fn(..)` names its function only in this \
         process, so call `Process::new` with the function's name, or `Process::from_pointer`"
    );
}

/// Makes a value of a type without content: a function item, or a closure that captures nothing.
pub(crate) fn conjure<F>() -> F {
    let () = Contentless::<F>::PROOF;
    // SAFETY: a value of size zero has no bytes to be wrong. That one exists is witnessed by the
    // value which `Process::new` consumed (and forgot) for the job that we carry out; it is that
    // value, moved here.
    unsafe { std::mem::zeroed() }
}

/// The function at an address.
///
/// # Safety
/// There must be a function of exactly the type `F`.
unsafe fn function_at<F: Copy>(address: usize) -> F {
    const { assert!(size_of::<F>() == size_of::<*const ()>()) };
    // SAFETY: the caller promises that this is the address of a function of this type.
    unsafe { std::mem::transmute_copy::<*const (), F>(&std::ptr::with_exposed_provenance(address)) }
}

/// The main program as the loader laid it out.
#[derive(Debug, Default)]
struct Layout {
    /// The executable segments.
    code: Vec<(usize, usize)>,
    /// The dynamic section.
    dynamic: Option<usize>,
    load_bias: usize,
}

impl Layout {
    /// Returns `true` if an address lies in an executable segment of the main program.
    fn contains_code(&self, address: usize) -> bool {
        self.code.iter().any(|(start, end)| (*start..*end).contains(&address))
    }
}

/// The layout of the main program, read once from the loader (`dl_iterate_phdr(3)`).
fn layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        let mut layout = Layout::default();
        // SAFETY: the callback is called before this returns, with the pointer that we pass.
        unsafe { libc::dl_iterate_phdr(Some(main_program), (&raw mut layout).cast()) };
        layout
    })
}

/// Reads the first object of the list, which is the main program, and ends the iteration.
unsafe extern "C" fn main_program(
    info: *mut libc::dl_phdr_info,
    _: usize,
    layout: *mut c_void,
) -> libc::c_int {
    // SAFETY: `layout` is the pointer that `layout()` passed, `info` the loader's, both alive
    // during the call; the program headers are `dlpi_phnum` entries at `dlpi_phdr`.
    let (layout, info, headers) = unsafe {
        let info = &*info;
        (
            &mut *layout.cast::<Layout>(),
            info,
            std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()),
        )
    };
    let at = |value: u64| usize::try_from(info.dlpi_addr.wrapping_add(value)).unwrap_or(0);
    layout.load_bias = at(0);
    for header in headers {
        match header.p_type {
            libc::PT_LOAD if header.p_flags & libc::PF_X != 0 => {
                layout.code.push((at(header.p_vaddr), at(header.p_vaddr + header.p_memsz)));
            }
            libc::PT_DYNAMIC => layout.dynamic = Some(at(header.p_vaddr)),
            _ => {}
        }
    }
    1
}

/// An initialiser, as the C library calls it.
pub(crate) type Initialiser =
    extern "C" fn(libc::c_int, *const *const libc::c_char, *const *const libc::c_char);

/// Runs the main program's initialisers that stand behind `own`, which is one of them and runs now.
///
/// Whoever never returns from an initialiser owes the later ones their run (`ctor`, `inventory` and
/// C++ rely on it).
pub(crate) fn run_later_initialisers(
    own: Initialiser,
    count: libc::c_int,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
) {
    for initialiser in later_initialisers(own) {
        initialiser(count, arguments, environment);
    }
}

/// Returns `true` if `own` stands in the main program's list of initialisers: not if we are part of
/// a library.
pub(crate) fn is_main_initialiser(own: Initialiser) -> bool {
    initialisers().contains(&(own as usize))
}

/// The main program's initialisers behind `own`.
fn later_initialisers(own: Initialiser) -> Vec<Initialiser> {
    let all = initialisers();
    let behind = all
        .iter()
        .position(|address| *address == own as usize)
        .map_or(all.len(), |place| place + 1);
    all[behind..]
        .iter()
        // The list may hold 0 and -1 as marks.
        .filter(|address| **address != 0 && **address != usize::MAX)
        // SAFETY: an entry of the loader's list of initialisers is the address of one.
        .map(|address| unsafe { function_at(*address) })
        .collect()
}

/// The main program's `DT_INIT_ARRAY`. (Not `__init_array_start`, which a library linked with us
/// could not link.)
fn initialisers() -> &'static [usize] {
    /// `Elf64_Dyn`
    #[repr(C)]
    struct Dynamic {
        tag: i64,
        value: u64,
    }
    const DT_NULL: i64 = 0;
    const DT_INIT_ARRAY: i64 = 25;
    const DT_INIT_ARRAYSZ: i64 = 27;

    let layout = layout();
    let Some(dynamic) = layout.dynamic else { return &[] };
    let (mut array, mut bytes) = (0, 0);
    let mut entry = dynamic as *const Dynamic;
    // SAFETY: the loader's dynamic section of the main program, which ends with DT_NULL.
    while let Dynamic { tag: tag @ 1.., value } = unsafe { entry.read() } {
        match tag {
            DT_INIT_ARRAY => array = usize::try_from(value).unwrap_or(0),
            DT_INIT_ARRAYSZ => bytes = usize::try_from(value).unwrap_or(0),
            _ => {}
        }
        // SAFETY: not DT_NULL, so there is one more.
        entry = unsafe { entry.add(1) };
    }
    const { assert!(DT_NULL == 0) };
    if array == 0 || bytes == 0 {
        return &[];
    }
    // SAFETY: the section says that `bytes` bytes of relocated function addresses lie at `array`.
    unsafe {
        std::slice::from_raw_parts(
            (layout.load_bias + array) as *const usize,
            bytes / size_of::<usize>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(arguments: &[u8], fds: Vec<Arc<OwnedFd>>) -> Result<Parcel, Refusal> {
        Ok(Parcel { bytes: arguments.iter().rev().copied().collect(), fds })
    }

    #[test]
    fn an_offset_leads_back_to_its_function() {
        let offset = Offset::of(entry).expect("a function of the main program");
        let found = offset.entry().expect("the same function");
        assert_eq!(found(b"abc", Vec::new()).expect("result").bytes, b"cba");
    }

    #[test]
    fn what_is_not_the_main_program_s_code_is_refused() {
        assert!(
            !layout().contains_code(libc::getpid as *const () as usize),
            "the C library's code"
        );
        assert!(!layout().contains_code((&raw const BASE) as usize), "data");
        assert!(Offset(0).entry().is_none());
        assert!(Offset(u64::MAX / 2).entry().is_none());
    }
}
