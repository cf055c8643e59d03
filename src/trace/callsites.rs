//! Callsites of other processes. `tracing` wants metadata that lives for ever, so each is made
//! once and kept; their number is bounded, as a hostile process can name as many as it likes.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::callsite::{self, Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Metadata, Value as Lent};

use super::told::{self, Site, Value, Values};

/// Callsites that are kept, at the most. What comes from others has a generic one of its level.
const MAX_CALLSITES: usize = 1024;

/// The longest name or path that a kept callsite may have, in bytes.
const MAX_TEXT: usize = 512;

/// A callsite whose metadata was made at run time.
struct Remote(OnceLock<Metadata<'static>>);

impl Callsite for Remote {
    /// Whether a subscriber is interested is asked at each span and event.
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        // It is set before anybody gets to see the callsite; an empty one is made rather than a
        // panic.
        self.0.get_or_init(unnamed)
    }
}

/// The metadata of a callsite that has none, which no callsite shows.
fn unnamed() -> Metadata<'static> {
    static NONE: Remote = Remote(OnceLock::new());
    let fields = FieldSet::new(&[], Identifier(&NONE));
    let level = tracing::Level::TRACE;
    Metadata::new("unknown", "multiproc", level, None, None, None, fields, Kind::EVENT)
}

/// The metadata of a site, and the values in the order of its fields.
pub(super) fn find(site: Site, values: Values) -> (&'static Metadata<'static>, Vec<Option<Value>>) {
    static KNOWN: OnceLock<Mutex<HashMap<Site, &'static Metadata<'static>>>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let metadata = match known.get(&site) {
        Some(metadata) => Some(*metadata),
        None if known.len() < MAX_CALLSITES && is_reasonable(&site) => {
            let (remote, made) = make(&site);
            known.insert(site.clone(), made);
            drop(known);
            // With nothing locked: a subscriber is code of the user's.
            callsite::register(remote);
            Some(made)
        }
        None => None,
    };
    match metadata {
        Some(metadata) => {
            let mut all = vec![None; metadata.fields().len()];
            for (index, value) in values {
                if let Some(place) = all.get_mut(usize::from(index)) {
                    *place = Some(value);
                }
            }
            (metadata, all)
        }
        None => generic(&site, &values),
    }
}

/// Returns whether a site may be kept: what honest code makes is far smaller.
fn is_reasonable(site: &Site) -> bool {
    let texts = [Some(&site.name), Some(&site.target), site.module.as_ref(), site.file.as_ref()];
    site.fields.len() <= told::MAX_FIELDS
        && texts.into_iter().flatten().chain(&site.fields).all(|text| text.len() <= MAX_TEXT)
}

/// Makes the callsite of a site, for ever. No subscriber has seen it yet.
fn make(site: &Site) -> (&'static Remote, &'static Metadata<'static>) {
    let keep = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let names: Vec<&'static str> = site.fields.iter().map(|name| keep(name)).collect();
    let remote: &'static Remote = Box::leak(Box::new(Remote(OnceLock::new())));
    let metadata = remote.0.get_or_init(|| {
        Metadata::new(
            keep(&site.name),
            keep(&site.target),
            told::level(site.level),
            site.file.as_deref().map(keep),
            site.line,
            site.module.as_deref().map(keep),
            FieldSet::new(Box::leak(names.into_boxed_slice()), Identifier(remote)),
            if site.is_span { Kind::SPAN } else { Kind::EVENT },
        )
    });
    (remote, metadata)
}

/// The generic callsite of a kind and level, with everything else as text.
fn generic(site: &Site, values: &Values) -> (&'static Metadata<'static>, Vec<Option<Value>>) {
    static GENERIC: [OnceLock<&'static Metadata<'static>>; 10] = [const { OnceLock::new() }; 10];
    let level = site.level.clamp(1, 5);
    let place = usize::from(level.saturating_sub(1)).saturating_add(5 * usize::from(site.is_span));
    let metadata = GENERIC[place].get_or_init(|| {
        let (remote, made) = make(&Site {
            is_span: site.is_span,
            name: "remote".to_owned(),
            target: "multiproc::remote".to_owned(),
            level,
            module: None,
            file: None,
            line: None,
            fields: vec!["message".to_owned()],
        });
        callsite::register(remote);
        made
    });
    let mut text = format!("{}: {}", site.target, site.name);
    for (index, value) in values {
        let name = site.fields.get(usize::from(*index)).map_or("?", String::as_str);
        text.push_str(&format!(" {name}={value:?}"));
    }
    (metadata, vec![Some(Value::Text(text))])
}

/// Calls `f` with the values as `tracing` wants them.
pub(super) fn with_values<T>(
    metadata: &'static Metadata<'static>,
    values: &[Option<Value>],
    f: impl FnOnce(&tracing::field::ValueSet<'_>) -> T,
) -> T {
    let lent: Vec<Option<Box<dyn Lent + '_>>> =
        values.iter().map(|value| value.as_ref().map(Value::lend)).collect();
    let fields: Vec<_> = metadata.fields().iter().collect();
    // An array of fixed size, as that is what `tracing` offers to the public; a field may be absent
    // from it, or stand in it once more without a value.
    let none: (Option<&dyn Lent>,) = (None,);
    let Some(first) = fields.first() else { return f(&metadata.fields().value_set(&[])) };
    let all: [_; told::MAX_FIELDS] = std::array::from_fn(|i| match fields.get(i) {
        Some(field) => (field, lent.get(i).and_then(|value| value.as_deref())),
        None => (first, none.0),
    });
    f(&metadata.fields().value_set(&all))
}
