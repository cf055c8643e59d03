//! Targets, which can run in a process: functions and closures without captures.
//!
//! A target crosses as the address of an *entry*, an instance of a generic function for the
//! target's type: the value itself has no content, and is made again from nothing in the child. So
//! a target must have no size (`code::Contentless`) and be copyable (`Captureless`); a function
//! that is only known at run time crosses as a checked offset (`pointer_entry`).

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::sys::program::code::{self, Crossing, Entry, FnPointer, Refusal};

/// A function that can run in a process with arguments of the types `Args`, a tuple.
///
/// Every `fn`, and every closure that captures nothing, of 0 to 8 arguments is one; of a generic
/// function, an instance: `parse::<u32>`. You do not implement it; for a type of your own with a
/// `run` method, see [`Run`](crate::Run); for a function that a variable of a type `fn(..)` names,
/// [`Process::from_pointer`](crate::Process::from_pointer).
///
/// Arguments are values that a child can own: `String`, not `&str`; `Vec<T>`, not `&[T]`.
///
/// # What a closure must not capture
/// Captures are refused where the program is compiled, but for one kind that no compiler tells from
/// none: what a `move` closure captures by copy and has no size. Such a value carries nothing but
/// the fact that it exists, and the child makes it again from nothing. So do not capture a value
/// whose existence proves something: a copyable token that says that *this process* has initialised
/// a library, say, or that it is inside of a scope. In the child, that was never done, and code
/// that relies on the token's word may be undefined behaviour there. Make such a token in the
/// child, or fork with [`Process::from_closure`](crate::Process::from_closure), whose child has
/// what this process has. (A token that is not `Copy`, not `Send` or of at least one byte is
/// refused.)
///
/// ```
/// use multiproc::Process;
///
/// fn area(width: u32, height: u32) -> u32 { width * height }
///
/// # fn main() -> multiproc::Result<()> {
/// assert_eq!(Process::new(area, (3, 4)).start()?.join()?, 12);
/// assert_eq!(Process::new(|text: String| text.len(), ("abc".to_owned(),)).start()?.join()?, 3);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run in a process with the arguments `{Args}`",
    label = "not a function of these arguments",
    note = "a target is a `fn` or a closure that captures nothing, of 0 to 8 arguments",
    note = "the arguments are given as a tuple, even one alone: `Process::new(f, (x,))`; none are \
         `()`",
    note = "to pass more, put them into a tuple or a struct"
)]
pub trait Target<Args> {
    /// The type of what it returns.
    type Output;

    /// Calls it with the arguments, taken out of their tuple.
    fn call(self, args: Args) -> Self::Output;
}

/// Implemented by functions without captures: at the least, they are copyable. Copyable captures
/// that have a size are refused by their size (`code::Contentless`); the others cannot be told from
/// none, see [`Target`].
#[diagnostic::on_unimplemented(
    message = "a target must be a function itself or a closure that captures nothing",
    label = "captures variables",
    note = "a closure that captures variables cannot cross to a process that is no copy of this \
         one",
    note = "pass what a closure captures as arguments: `Process::new(|x: T| .., (x,))`",
    note = "or fork with `Process::from_closure`",
    note = "a generic parameter needs the bound `Copy`, which every function and every closure \
         without captures has"
)]
#[doc(hidden)]
pub trait Captureless {}

#[diagnostic::do_not_recommend]
impl<Function: Copy> Captureless for Function {}

macro_rules! impl_target {
    ($($value:ident: $Type:ident),*) => {
        impl<Function, Output, $($Type),*> Target<($($Type,)*)> for Function
        where
            Function: FnOnce($($Type),*) -> Output,
        {
            type Output = Output;

            fn call(self, ($($value,)*): ($($Type,)*)) -> Output {
                self($($value),*)
            }
        }
    };
}

impl_target!();
impl_target!(a: A);
impl_target!(a: A, b: B);
impl_target!(a: A, b: B, c: C);
impl_target!(a: A, b: B, c: C, d: D);
impl_target!(a: A, b: B, c: C, d: D, e: E);
impl_target!(a: A, b: B, c: C, d: D, e: E, f: F);
impl_target!(a: A, b: B, c: C, d: D, e: E, f: F, g: G);
impl_target!(a: A, b: B, c: C, d: D, e: E, f: F, g: G, h: H);

/// The entry for a function: the instance that a call site crosses with. It decodes the arguments,
/// calls the function and encodes what it returns.
pub(crate) fn function_entry<F, Args>() -> Entry
where
    F: Target<Args>,
    Args: DeserializeOwned,
    F::Output: Serialize,
{
    |arguments, fds| {
        let arguments = codec::decode::<Args>(arguments, fds).map_err(Refusal::Arguments)?;
        let output = code::conjure::<F>().call(arguments);
        codec::encode(&output).map_err(Refusal::Result)
    }
}

/// The entry for functions that a pointer names at run time: one instance for each pointer type.
///
/// The pointer is encoded as the first value of the message, before the user's arguments; that is
/// what makes decoding it sound (see [`Crossing`]).
pub(crate) fn pointer_entry<P, Args>() -> Entry
where
    P: Target<Args> + FnPointer,
    Args: DeserializeOwned,
    P::Output: Serialize,
{
    |arguments, fds| {
        let (Crossing(function), arguments) =
            codec::decode::<(Crossing<P>, Args)>(arguments, fds).map_err(Refusal::Arguments)?;
        codec::encode(&function.call(arguments)).map_err(Refusal::Result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::parcel::Parcel;

    type Pointer = fn(u32) -> u32;

    fn double(number: u32) -> u32 {
        number * 2
    }

    fn call(arguments: Parcel) -> Result<Parcel, Refusal> {
        pointer_entry::<Pointer, (u32,)>()(&arguments.bytes, arguments.fds)
    }

    #[test]
    fn an_entry_calls_the_function_of_a_pointer() {
        let arguments = codec::encode(&(Crossing(double as Pointer), (21_u32,))).expect("encode");
        let result = call(arguments).expect("a result");
        assert_eq!(codec::decode::<u32>(&result.bytes, result.fds).expect("decode"), 42);
    }

    #[test]
    fn an_offset_that_leads_to_no_code_is_refused() {
        // The distance of the base from itself: data.
        let arguments = codec::encode(&(0_u64, (21_u32,))).expect("encode");
        assert!(matches!(call(arguments), Err(Refusal::Arguments(_))));
    }
}
