//! What the command line asks for.

use std::path::PathBuf;

/// The benchmarks, in the order in which they are run.
pub(crate) const BENCHES: [&str; 6] = ["start", "channel", "lock", "pool", "async", "growth"];

#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) quick: bool,
    /// `BENCH` or `BENCH:SECTION`; all if empty.
    pub(crate) only: Vec<String>,
    /// A folder, from the project's root if it is relative.
    pub(crate) into: PathBuf,
    pub(crate) before: Option<PathBuf>,
    pub(crate) no_peers: bool,
    pub(crate) render: bool,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        let mut into = None;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word.as_str() {
                "--quick" => arguments.quick = true,
                "--only" => arguments.only.push(value()?),
                "--into" => into = Some(PathBuf::from(value()?)),
                "--before" => arguments.before = Some(PathBuf::from(value()?)),
                "--no-peers" => arguments.no_peers = true,
                "--render" => arguments.render = true,
                _ => return Err(format!("unknown argument {word}: see xtask/report/src/main.rs")),
            }
        }
        // A quick run's figures mean nothing, and must not take the place of others.
        let folder = if arguments.quick { "target/report" } else { "docs" };
        arguments.into = into.unwrap_or_else(|| folder.into());
        for name in arguments.only.iter().map(|only| bench_of(only).0) {
            if !BENCHES.contains(&name) {
                return Err(format!("there is no benchmark {name}, only {}", BENCHES.join(", ")));
            }
        }
        Ok(arguments)
    }

    /// The benchmarks to run, each with the sections to run; all of them if there is none.
    pub(crate) fn benches(&self) -> Vec<(&'static str, Vec<&str>)> {
        let wanted = |bench: &'static str| {
            let only: Vec<_> = self.only.iter().map(|only| bench_of(only)).collect();
            let mine: Vec<_> = only.into_iter().filter(|(name, _)| *name == bench).collect();
            let is_whole = mine.iter().any(|(_, section)| section.is_none());
            let sections = mine.iter().filter_map(|(_, section)| *section);
            (self.only.is_empty() || !mine.is_empty())
                .then(|| (bench, if is_whole { Vec::new() } else { sections.collect() }))
        };
        BENCHES.into_iter().filter_map(wanted).collect()
    }
}

fn bench_of(only: &str) -> (&str, Option<&str>) {
    only.split_once(':').map_or((only, None), |(bench, section)| (bench, Some(section)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_arguments_everything_is_run_into_docs() {
        let arguments = parse("").expect("parsed");
        assert_eq!(arguments.into, PathBuf::from("docs"));
        assert_eq!(arguments.benches().len(), BENCHES.len());
    }

    #[test]
    fn a_quick_run_leaves_the_docs_alone() {
        assert_eq!(parse("--quick").expect("parsed").into, PathBuf::from("target/report"));
    }

    #[test]
    fn sections_are_those_of_their_benchmark() {
        let arguments = parse("--only growth:locks --only growth:queues --only lock");
        let arguments = arguments.expect("parsed");
        let expected = vec![("lock", vec![]), ("growth", vec!["locks", "queues"])];
        assert_eq!(arguments.benches(), expected);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert!(parse("--fast").is_err());
        assert!(parse("--only disk").is_err());
        assert!(parse("--into").is_err());
    }
}
