//! Records, spans and events of a child that says anything. Whatever it says, the subscriber hears
//! of spans that are there, of not too many, and of the end of each.

use std::collections::HashMap;
use std::fmt::Debug;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher};

use crate::fuzz::input::Input;
use crate::relay::onward::{Onward, PassOn};
use crate::relay::records::{self, Source};
use crate::sys::ipc::socket::{self, Mode};
use crate::trace::origin::Origin;
use crate::trace::teller;

/// Spans that may be open at a time: those of one process, its task's and its own.
const LARGEST: usize = 1024 + 3;

pub(in crate::fuzz) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let Ok((near, far)) = socket::pair() else { return };
    log::set_max_level(log::LevelFilter::Trace);
    let ears = Ears::default();
    dispatcher::with_default(&Dispatch::new(ears.clone()), || {
        let mut source = Source::new("it".to_owned(), 1, 5);
        if input.byte().is_multiple_of(2) {
            source = source.within(tracing::info_span!("process"));
        }
        while !input.is_empty() {
            match input.byte() % 8 {
                0 => {
                    source.given(&Origin::current(), input.byte().into());
                }
                1 => hear(&near, &source),
                2 => {
                    let length = usize::from(input.byte()) << 8 | usize::from(input.byte());
                    let said = records::read_onward(input.bytes(length));
                    said.into_iter().for_each(|said| records::give(&source, said));
                }
                _ => {
                    let length = usize::from(input.byte()) << 8 | usize::from(input.byte());
                    let _ = socket::send(far.as_fd(), &[input.bytes(length)], &[]);
                }
            }
            let open = ears.0.lock().expect("a lock").held.len();
            assert!(open <= LARGEST, "{open} spans are open");
        }
        hear(&near, &source);
        records::give(&source, records::Said::Ended("ended".to_owned()));
    });
    assert!(ears.0.lock().expect("a lock").held.is_empty(), "spans that nobody closes");
}

/// Passes on what is there.
fn hear(near: &std::os::fd::OwnedFd, source: &Source) {
    let (all, _) = records::take(near);
    all.into_iter().for_each(|said| records::give(source, said));
}

/// A subscriber that looks closely.
#[derive(Clone, Default)]
struct Ears(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    last: u64,
    /// How often each open span is held.
    held: HashMap<u64, u64>,
}

/// Reads every value.
struct Reads;

impl Visit for Reads {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = (field.name().len(), format!("{value:?}"));
    }
}

impl Ears {
    #[track_caller]
    fn check(&self, id: Option<&Id>) {
        let Some(id) = id else { return };
        assert!(self.0.lock().expect("a lock").held.contains_key(&id.into_u64()), "{id:?} is over");
    }
}

impl Subscriber for Ears {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        assert!(metadata.fields().len() <= 32, "more fields than the macros allow");
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.check(span.parent());
        assert!(span.metadata().is_span());
        span.record(&mut Reads);
        let mut state = self.0.lock().expect("a lock");
        state.last += 1;
        let last = state.last;
        state.held.insert(last, 1);
        Id::from_u64(last)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.check(Some(id));
        values.record(&mut Reads);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.check(event.parent());
        assert!(event.metadata().is_event());
        event.record(&mut Reads);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn clone_span(&self, id: &Id) -> Id {
        self.check(Some(id));
        *self.0.lock().expect("a lock").held.entry(id.into_u64()).or_default() += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        self.check(Some(&id));
        let mut state = self.0.lock().expect("a lock");
        let Some(held) = state.held.get_mut(&id.into_u64()) else { return false };
        *held -= 1;
        *held == 0 && state.held.remove(&id.into_u64()).is_some()
    }
}

/// What an honest process says in two tasks.
pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS
        .get_or_init(|| {
            let honest = honest();
            let onward = honest.as_deref().map(onward);
            honest.into_iter().chain(onward).collect()
        })
        .clone()
}

/// Keeps what goes to another machine.
#[derive(Default)]
struct Kept(Mutex<Vec<Vec<u8>>>);

impl PassOn for Kept {
    fn pass_on(&self, _: usize, _: u64, told: Vec<u8>) {
        self.0.lock().expect("a lock").push(told);
    }

    fn has_room(&self) -> bool {
        true
    }
}

/// The same, as it comes from another machine.
fn onward(honest: &[u8]) -> Vec<u8> {
    let kept = Arc::new(Kept::default());
    let to = Arc::clone(&kept) as Arc<dyn PassOn>;
    let source = Source::new("it".to_owned(), 1, 5).onward(Onward { level: 5, to }, 0);
    let Ok((near, far)) = socket::pair() else { return Vec::new() };
    let mut input = Input::new(honest);
    input.bytes(3);
    while !input.is_empty() {
        if input.byte() == 3 {
            let length = usize::from(input.byte()) << 8 | usize::from(input.byte());
            let _ = socket::send(far.as_fd(), &[input.bytes(length)], &[]);
            hear(&near, &source);
        }
    }
    records::give(&source, records::Said::Ended("ended".to_owned()));
    // Given two jobs.
    let mut seed = vec![0, 0, 1, 0, 1];
    for told in kept.0.lock().expect("a lock").iter() {
        seed.push(2);
        seed.extend(u16::try_from(told.len()).unwrap_or(u16::MAX).to_be_bytes());
        seed.extend(told);
    }
    seed
}

fn honest() -> Option<Vec<u8>> {
    let (near, far) = socket::pair().ok()?;
    let far = Arc::new(far);
    // Once in a process, and for ever; what is said later goes to a closed socket.
    records::install_teller(&far, 5);
    records::install(far, 5);
    for number in 0..2 {
        teller::begun(number + 1, number, "task");
        let span = tracing::info_span!("outer", a = 1_i64, b = tracing::field::Empty);
        span.in_scope(|| {
            let inner = tracing::debug_span!("inner", text = "some", is = true);
            inner.in_scope(|| tracing::warn!(half = 0.5, list = ?[1, 2], "an event"));
        });
        span.record("b", 7_u64);
        log::warn!("a record");
        teller::failed("no luck");
        teller::returned();
    }
    // Given two jobs, then all messages, read now and then.
    let mut seed = vec![0, 0, 0];
    while let Ok(Some(message)) = socket::recv(near.as_fd(), Mode::Now) {
        seed.push(3);
        seed.extend(u16::try_from(message.bytes.len()).ok()?.to_be_bytes());
        seed.extend(message.bytes);
        if seed.len().is_multiple_of(3) {
            seed.push(1);
        }
    }
    Some(seed)
}
