//! Generic types seen as those that they are: what a list's iterator or visitor is called is known
//! where it is compiled, but not to the code that is generic over it.
//!
//! `Any` does this for types without borrowed parts only; an iterator over a list borrows the list.

#![expect(unsafe_code, reason = "a generic type is converted into the type that it is")]

use std::any::TypeId;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::slice;

/// The id of a type, whatever it borrows: types that differ in lifetimes only have the same.
///
/// It is a constant after inlining, so a comparison costs nothing.
#[inline(always)]
pub(super) fn id_of<T: ?Sized>() -> TypeId {
    /// `TypeId::of` of a type that need not be `'static` where it is named.
    trait Named {
        fn id(&self) -> TypeId
        where
            Self: 'static;
    }
    impl<T: ?Sized> Named for PhantomData<T> {
        #[inline(always)]
        fn id(&self) -> TypeId
        where
            Self: 'static,
        {
            TypeId::of::<T>()
        }
    }
    let name = PhantomData::<T>;
    let name: &(dyn Named + '_) = &name;
    // SAFETY: only the lifetime of the trait object changes, which is not there when the program
    // runs. `id` reads nothing of the object and keeps nothing of it: it returns a number of the
    // type, for which lifetimes are erased.
    let name = unsafe { mem::transmute::<&(dyn Named + '_), &(dyn Named + 'static)>(name) };
    name.id()
}

/// The slice that is left of an iterator, if this is an iterator over a slice of `N`.
#[inline(always)]
pub(super) fn slice_of<N: 'static, Items>(items: &Items) -> Option<&[N]> {
    if id_of::<Items>() != TypeId::of::<slice::Iter<'static, N>>() {
        return None;
    }
    // SAFETY: the ids are equal, so `Items` is `slice::Iter<'a, N>` for some `'a`: `N` has no
    // lifetime that could differ. `'a` outlives the borrow of `items`, as `Items` does, and what is
    // returned lives as long as this borrow.
    let items: &slice::Iter<'_, N> = unsafe { &*(&raw const *items).cast() };
    Some(items.as_slice())
}

/// A value as the type `A` that it has; `None` if it has another.
#[inline(always)]
pub(super) fn seen_as<A: 'static, B>(value: &B) -> Option<&A> {
    if id_of::<B>() != TypeId::of::<A>() {
        return None;
    }
    // SAFETY: the ids are equal, and `A` has no lifetimes, so `B` is `A`.
    Some(unsafe { &*(&raw const *value).cast() })
}

/// A value of type `A` as the type `B` that it has; given back if `B` is another type.
#[inline(always)]
pub(super) fn retyped<A: 'static, B>(value: A) -> Result<B, A> {
    if id_of::<B>() != TypeId::of::<A>() {
        return Err(value);
    }
    let value = ManuallyDrop::new(value);
    // SAFETY: the ids are equal, and `A` has no lifetimes, so `B` is `A`. The value is moved out
    // once: `ManuallyDrop` does not drop what it holds.
    Ok(unsafe { mem::transmute_copy::<A, B>(&value) })
}
