//! What the command line says.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
thumbs: thumbnails of all pictures below some folders, by workers that no picture gets the better of

usage: thumbs [OPTION]... [FOLDER]...

Without a folder it makes one with samples of its own, some of which mean harm.
Pictures are files called .bmp, .gif, .jpg, .jpeg, .png and .toy.

  --out DIR     where the thumbnails, the contact sheet and the summary go (target/thumbs)
  --size PX     the longest side of a thumbnail, from 32 to 1024 (192)
  --jobs N      how many workers there are (one for each processor)
  --help        this text
";

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) out: PathBuf,
    pub(crate) side: u32,
    pub(crate) jobs: Option<usize>,
    pub(crate) help: bool,
}

/// Reads the words after the program's name.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, String> {
    let out = ["target", "thumbs"].iter().collect();
    let mut arguments = Arguments { folders: Vec::new(), out, side: 192, jobs: None, help: false };
    let mut words = words.into_iter();
    let mut only_folders = false;
    while let Some(word) = words.next() {
        if only_folders || !word.as_encoded_bytes().starts_with(b"-") {
            arguments.folders.push(word.into());
            continue;
        }
        // `--size=100` is `--size 100`.
        let text = word.to_string_lossy().into_owned();
        let (option, given) = match text.split_once('=') {
            Some((option, value)) => (option, Some(OsString::from(value))),
            None => (&text[..], None),
        };
        let mut value = || {
            given.clone().or_else(|| words.next()).ok_or_else(|| format!("{option} needs a value"))
        };
        match option {
            "--" => only_folders = true,
            "--out" => arguments.out = value()?.into(),
            "--size" => arguments.side = number(option, value()?, 32, 1024)?,
            "--jobs" => arguments.jobs = Some(number(option, value()?, 1, 1024)? as usize),
            "--help" | "-h" => arguments.help = true,
            _ => return Err(format!("there is no option {option}")),
        }
    }
    Ok(arguments)
}

fn number(option: &str, text: OsString, least: u32, most: u32) -> Result<u32, String> {
    let number = text
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        format!("{option} is a number from {least} to {most}, not {}", text.to_string_lossy())
    })
}
