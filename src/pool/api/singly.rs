//! Single arguments as tuples of one, for maps of functions with one argument.

use std::iter::Map;

use super::imap::IMap;

/// The outcomes of calling a function with each of `Items` alone: an iterator of `Result<R,
/// TaskError>`.
pub type Outcomes<Items, R> = IMap<'static, Singly<Items>, (<Items as IntoIterator>::Item,), R>;

/// The items, each as the only argument of a call: a tuple of one.
pub(super) type Singly<Items> = Map<
    <Items as IntoIterator>::IntoIter,
    fn(<Items as IntoIterator>::Item) -> (<Items as IntoIterator>::Item,),
>;

/// Makes each item the only argument of a call.
pub(super) fn singly<Items: IntoIterator>(items: Items) -> Singly<Items> {
    items.into_iter().map(|item| (item,))
}
