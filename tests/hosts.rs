//! The kinds of programs that multiproc can be in: how they are built and linked, and where in them
//! it is called.
//!
//! The programs are in `hosts`, a workspace of its own. Each writes "main" when its `main` runs and
//! "well" at its end, so that one which runs a second time, in a child, is seen.

mod fixtures;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixtures::{Done, target_folder};

/// What a program writes that runs once and finds all well.
const WELL: &str = "main\nwell\n";

#[test]
fn every_place_in_a_crate() {
    let workspace = workspace();
    let done = fixtures::build(&mut fixtures::cargo(&workspace, "test"), Done::clone);
    let said = done.expect_success();
    for test in [
        "test tests::in_a_unit_test ... ok",
        "test tests::in_a_unit_test_of_a_program ... ok",
        "test in_an_integration_test ... ok",
        WELL, // the benchmark
        "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out", // the documentation's
    ] {
        assert!(said.contains(test), "{test:?} is missing: {}", done.report());
    }
    for program in ["--bin=hosts", "--example=example"] {
        let done = fixtures::build(
            fixtures::cargo(&workspace, "run").arg("--quiet").arg(program),
            Done::clone,
        );
        assert_eq!(done.expect_success(), WELL, "{}", done.report());
    }
}

#[test]
fn initialisers_before_and_behind_ours_run_once_in_every_child() {
    let programs = build(&["--bin=initialisers"], "debug");
    runs_well(&mut Command::new(programs.join("initialisers")));
}

#[cfg(target_env = "gnu")]
#[test]
fn a_program_with_a_clone_of_its_own() {
    let programs = build(&["--bin=interposed"], "debug");
    runs_well(&mut Command::new(programs.join("interposed")));
}

#[test]
fn a_library_loaded_by_a_program_without_multiproc_starts_nothing_but_forks() {
    let programs = build(&["--package=plain", "--package=plugin"], "debug");
    let command = || {
        let mut command = Command::new(programs.join("plain"));
        command.arg(programs.join("libplugin.so"));
        command
    };
    runs_well(&mut command());
    // Its initialiser runs when it is loaded; the variable is none of its business.
    runs_well(command().arg("only load").env("MULTIPROC_BOOT", "1:child:3:4:5:6"));
}

#[test]
fn a_library_can_be_unloaded_after_it_forked() {
    let programs = build(&["--package=plain", "--package=plugin"], "debug");
    runs_well(
        Command::new(programs.join("plain")).arg(programs.join("libplugin.so")).arg("unload"),
    );
}

#[test]
fn a_library_with_a_multiproc_of_its_own_beside_the_program_s() {
    let programs = build(&["--bin=loads_plugin", "--package=hosts", "--package=plugin"], "debug");
    let command = || {
        let mut command = Command::new(programs.join("loads_plugin"));
        command.arg(programs.join("libplugin.so"));
        command
    };
    runs_well(&mut command());
    runs_well(command().arg("unload"));
}

#[test]
fn multiproc_in_a_shared_library_refuses_to_execute_the_program() {
    let programs = build_with_flags(
        "-C prefer-dynamic",
        "shared_host",
        &["shared_host"],
        Some("libshared.so"),
    );
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = fixtures::run(
        Command::new(rustc).current_dir(workspace()).args(["--print", "target-libdir"]),
    );
    let path = [programs.as_path(), Path::new(libraries.expect_success().trim())];
    let path = std::env::join_paths(path).expect("a path");
    runs_well(Command::new(programs.join("shared_host")).env("LD_LIBRARY_PATH", path));
}

#[test]
fn a_program_as_it_is_shipped() {
    let programs = build(&["--profile=shipped", "--bin=hosts"], "shipped");
    runs_well(&mut Command::new(programs.join("hosts")));
}

#[test]
fn a_panic_that_aborts_ends_the_child_only() {
    let programs = build(&["--profile=abort", "--bin=aborts"], "abort");
    let done = runs_well(&mut Command::new(programs.join("aborts")));
    let said = done.stderr.matches("3 is too much").count();
    assert_eq!(said, 6, "two panics by each method, of a process and of a task: {}", done.report());
}

#[cfg(target_env = "gnu")]
#[test]
fn a_static_program() {
    check_linked("-C target-feature=+crt-static");
}

#[cfg(target_env = "gnu")]
#[test]
fn a_program_at_a_fixed_address() {
    check_linked("-C relocation-model=static");
}

#[cfg(target_env = "gnu")]
#[test]
fn a_static_program_at_a_fixed_address_is_refused() {
    let flags = "-C target-feature=+crt-static -C relocation-model=static";
    let programs = build_with_flags(flags, "hosts", &["hosts"], None);
    let done = fixtures::run(&mut Command::new(programs.join("hosts")));
    // It has no list of initialisers that could be asked for ours. Not a second line: `main` ran
    // once.
    assert_eq!(done.stdout, "main\n", "{}", done.report());
    assert!(done.stderr.contains("linked statically at a fixed address"), "{}", done.report());
}

/// What is counted of each function of `measured`, by the hash under which profiles know its name
/// (the first half of its MD5).
const COUNTED: [(&str, u64, u64); 7] = [
    ("counted_main", 0x0d2a_56a1_e47d_a74a, 1),
    ("counted_returns", 0xb6f0_dbc8_522a_120f, 6),
    ("counted_exits", 0x105c_244e_6ba0_468a, 6),
    ("counted_panics", 0xfdda_12ef_7eda_79d0, 6),
    ("counted_forks", 0x4f50_a502_bddc_5278, 2),
    ("counted_tasks", 0x443b_1ea6_305a_8ff5, 100),
    ("counted_preload", 0x86ec_a849_3fda_bc86, 2),
];

#[cfg(target_env = "gnu")]
#[test]
fn what_children_run_is_measured() {
    // For coverage as cargo-llvm-cov names files: one a process, one for all, and by the name that
    // the compiler chose. The profile for the optimiser is in one file.
    check_measured(
        "-C instrument-coverage",
        &[Some("%p-%10m.profraw"), Some("%m.profraw"), Some("%p.profraw"), None],
    );
    check_measured("-C profile-generate=.", &[None, Some("%p.profraw")]);
}

fn check_measured(flags: &str, patterns: &[Option<&str>]) {
    let programs = build_with_flags(flags, "hosts", &["measured"], None);
    for pattern in patterns {
        let folder = programs.join("profiles");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("make a folder");
        let mut command = Command::new(programs.join("measured"));
        command.current_dir(&folder).env_remove("LLVM_PROFILE_FILE");
        if let Some(pattern) = pattern {
            command.env("LLVM_PROFILE_FILE", folder.join(pattern));
        }
        let done = runs_well(&mut command);
        assert!(!done.stderr.contains("LLVM Profile"), "{}", done.report());
        let counts = counts(&folder);
        for (function, hash, expected) in COUNTED {
            assert_eq!(counts.get(&hash), Some(&expected), "{flags}, {pattern:?}: {function}");
        }
    }
}

/// How often each function ran, by the hash of its name, as all raw profiles in a folder say
/// together.
fn counts(folder: &Path) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for file in fs::read_dir(folder).expect("read a folder") {
        let bytes = fs::read(file.expect("read a folder").path()).expect("read a profile");
        let word = |place: usize| {
            u64::from_le_bytes(bytes[place..place + 8].try_into().expect("eight bytes"))
        };
        let header = |number: usize| word(number * 8);
        // `InstrProfData.inc` of LLVM: a header of 16 words; identifiers; a record of 64 bytes for
        // each function; counters.
        assert_eq!(header(0), 0xff6c_7072_6f66_7281, "no raw profile");
        assert_eq!(
            header(1) & 0xffff_ffff,
            10,
            "raw profiles have another format by now: see what it is"
        );
        let size = |number: usize| usize::try_from(header(number)).expect("a size");
        let records = 16 * 8 + size(2);
        let counters = records + size(3) * 64 + size(4);
        for record in (0..size(3)).map(|number| records + number * 64) {
            // The distance of the counters from the record, less that of all counters from all
            // records.
            let distance =
                word(record + 16).wrapping_add((record - records) as u64).wrapping_sub(header(10));
            let counter = counters + usize::try_from(distance).expect("a distance");
            *counts.entry(word(record)).or_default() += word(counter);
        }
    }
    counts
}

fn check_linked(flags: &str) {
    let programs = build_with_flags(flags, "hosts", &["hosts", "initialisers"], None);
    for program in ["hosts", "initialisers"] {
        runs_well(&mut Command::new(programs.join(program)));
    }
}

/// The workspace with the programs.
fn workspace() -> PathBuf {
    let folder = fixtures::package("hosts");
    fixtures::copy_tree(&Path::new(fixtures::PACKAGE).join("tests/hosts"), &folder);
    folder
}

/// Builds programs; where they are.
fn build(arguments: &[&str], profile: &str) -> PathBuf {
    fixtures::build(fixtures::cargo(&workspace(), "build").args(arguments), |done| {
        done.expect_success();
    });
    target_folder().join(profile)
}

/// Builds programs with flags for the compiler, which a target keeps from the macros that run in
/// it; where they and the library are.
fn build_with_flags(
    flags: &str,
    package: &str,
    programs: &[&str],
    library: Option<&str>,
) -> PathBuf {
    let environment = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    let target = format!("{}-unknown-linux-{environment}", std::env::consts::ARCH);
    let mut command = fixtures::cargo(&workspace(), "build");
    command.env("RUSTFLAGS", flags).args(["--package", package, "--target", &target]);
    for program in programs {
        command.args(["--bin", program]);
    }
    fixtures::build(&mut command, |done| {
        done.expect_success();
        // The next flags make other programs of these names.
        let made = target_folder().join(target).join("debug");
        let own = target_folder().join(flags.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
        fs::create_dir_all(&own).expect("make a folder");
        for program in programs.iter().chain(&library) {
            let _ = fs::remove_file(own.join(program));
            let from = [made.join(program), made.join("deps").join(program)]
                .into_iter()
                .find(|from| from.exists());
            fs::copy(from.expect("a program"), own.join(program)).expect("copy a program");
        }
        own
    })
}

/// Runs a program that must find all well.
#[track_caller]
fn runs_well(command: &mut Command) -> Done {
    let done = fixtures::run(command.env_remove("RUST_BACKTRACE"));
    assert_eq!(done.expect_success(), WELL, "{}", done.report());
    done
}
