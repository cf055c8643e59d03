//! The files of a cage: Landlock (`landlock(7)`).

use std::error::Error;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::rules::Rules;

/// Returns how much of Landlock is made use of, of the version that the kernel has.
fn level(version: i64) -> ABI {
    match version {
        ..=1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        _ => ABI::V6,
    }
}

/// Encloses this thread. Paths are opened now: what they lead to later does not matter.
///
/// # Errors
/// A path cannot be opened; a right that this version has is not enforced.
pub(super) fn enclose(version: i64, rules: &Rules<'_>) -> Result<(), Box<dyn Error>> {
    let level = level(version);
    let all = AccessFs::from_all(level);
    // Each right that this version has must be enforced: `rights` counts on it.
    let mut ruleset =
        Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(all)?;
    let tcp = AccessNet::from_all(level);
    if !rules.network && !tcp.is_empty() {
        ruleset = ruleset.handle_access(tcp)?;
    }
    let mut scopes = Scope::from_all(level);
    if rules.network {
        scopes &= !BitFlags::from(Scope::AbstractUnixSocket);
    }
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    let mut created = ruleset.create()?;
    let mut reads: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    if rules.processes {
        reads |= AccessFs::Execute;
    }
    // Neither devices nor sockets are made there.
    let special = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::Execute;
    let writes = (all & !special) | reads;
    for (paths, access) in [(rules.read, reads), (rules.write, writes)] {
        for path in paths {
            let named = |error: &dyn Error| format!("{}: {error}", path.display());
            let is_dir = path.metadata().map_err(|error| named(&error))?.is_dir();
            let access = if is_dir { access } else { access & AccessFs::from_file(level) };
            let place = PathFd::new(path).map_err(|error| named(&error))?;
            created = created.add_rule(PathBeneath::new(place, access))?;
        }
    }
    let status = created.restrict_self()?;
    if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
        return Err("it is not in force".into());
    }
    Ok(())
}
