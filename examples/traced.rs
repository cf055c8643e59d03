//! The spans of three processes in one tree: the program's, those of a pool's worker, and that of a
//! child. Run it with `cargo run --features tracing --example traced`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use multiproc::{Pool, Process};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber, info, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Gathers spans and events as a tree. A program would use a layer of `tracing_subscriber` that
/// writes them, or one of OpenTelemetry that sends them.
#[derive(Clone, Default)]
struct Tree(Arc<Mutex<Nodes>>);

/// The lines of each span, by its number, in the order in which they came.
#[derive(Default)]
struct Nodes {
    /// Where the spans that are open stand.
    places: BTreeMap<u64, usize>,
    /// What each line says, and the place of the line that it is within.
    lines: Vec<(String, Option<usize>)>,
}

/// The values that are the same in each run.
struct Values(String);

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => {
                let _ = write!(self.0, " {value:?}");
            }
            "pid" | "function" | "place" | "backtrace" => {}
            name => {
                let _ = write!(self.0, " {name}={value:?}");
            }
        }
    }
}

impl Tree {
    fn add(&self, text: String, parent: Option<u64>, own: Option<u64>) {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = parent.and_then(|id| nodes.places.get(&id).copied());
        let place = nodes.lines.len();
        nodes.lines.push((text, parent));
        if let Some(own) = own {
            nodes.places.insert(own, place);
        }
    }

    /// Prints what is within a line, or everything.
    fn print(&self, within: Option<usize>, depth: usize) {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone();
        for (place, (text, _)) in
            lines.iter().enumerate().filter(|(_, (_, parent))| *parent == within)
        {
            println!("{:1$}{text}", "", depth * 2);
            self.print(Some(place), depth + 1);
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Tree {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut values = Values(attributes.metadata().name().to_owned());
        attributes.record(&mut values);
        let parent = context.span(id).and_then(|span| span.parent()).map(|span| span.id());
        self.add(values.0, parent.map(|id| id.into_u64()), Some(id.into_u64()));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut values = Values(event.metadata().level().to_string());
        event.record(&mut values);
        let parent = context.event_span(event).map(|span| span.id().into_u64());
        self.add(values.0, parent, None);
    }
}

/// What the worker does: its spans and events come out in the program.
fn resize(width: u32) -> u32 {
    let _within = info_span!("decode", width).entered();
    info!("decoded");
    if width > 2 {
        // The worker ends in the middle of its spans, and the pool closes them.
        std::process::exit(3);
    }
    width * 2
}

/// What the child does: it forwards what it tells.
fn clean_up() {
    info_span!("sweep", files = 3).in_scope(|| info!("swept"));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tree = Tree::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(tree.clone()))?;
    let pool = Pool::builder().processes(1).name("resizer").build()?;
    info_span!("request", path = "/pictures").in_scope(|| {
        info!("received");
        let tasks: Vec<_> =
            (1..=3).map(|width| pool.tasks().name("resize").submit(resize, (width,))).collect();
        let sizes: Vec<_> = tasks.into_iter().map(|task| task.join().ok()).collect();
        assert_eq!(sizes, [Some(2), Some(4), None]);
    });
    // What workers say comes out before the pool is over.
    pool.close();
    pool.join()?;
    info_span!("evening").in_scope(|| {
        let cleaner = Process::new(clean_up, ()).name("cleaner").forward_logs(true);
        cleaner.start()?.join()?;
        Ok::<(), multiproc::Error>(())
    })?;
    tree.print(None, 0);
    Ok(())
}
