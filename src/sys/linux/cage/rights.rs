//! Rights that a cage keeps from its process, and who enforces that on each kernel: Landlock from
//! some version on, or the filter. A cage that nobody would keep whole on this kernel is refused.

use super::rules::Rules;

/// Something that a caged process must not be able to do.
struct Right {
    what: &'static str,
    /// A cage with these rules keeps it at all.
    is_kept: fn(&Rules<'_>) -> bool,
    /// The version of Landlock from which on Landlock keeps it.
    landlock: i64,
    /// The seccomp filter keeps it as well, so that an older Landlock will do.
    filter: fn(&Rules<'_>) -> bool,
}

/// The version of Landlock that keeps files from being emptied.
pub(super) const EMPTYING: i64 = 3;

/// All of them. The versions are those of Linux 5.13, 5.19, 6.2, 6.7, 6.10 and 6.12.
const RIGHTS: [Right; 8] = [
    Right {
        what: "to open, make, rename and remove files",
        is_kept: |_| true,
        landlock: 1,
        filter: |_| false,
    },
    // Version 1 cannot allow it, and so refuses it everywhere.
    Right {
        what: "to move files from one folder to another",
        is_kept: |_| true,
        landlock: 1,
        filter: |_| false,
    },
    // `truncate`, and `open` for reading with O_TRUNC.
    Right {
        what: "to empty files that it may not write",
        is_kept: |_| true,
        landlock: EMPTYING,
        filter: |_| true,
    },
    Right { what: "to use TCP", is_kept: |rules| !rules.network, landlock: 4, filter: |_| true },
    Right {
        what: "to use sockets that are not TCP",
        is_kept: |rules| !rules.network,
        landlock: i64::MAX,
        filter: |_| true,
    },
    // `ioctl`, of which the filter allows a few that change nothing.
    Right { what: "to control devices", is_kept: |_| true, landlock: 5, filter: |_| true },
    Right {
        what: "to reach abstract sockets",
        is_kept: |rules| !rules.network,
        landlock: 6,
        filter: |_| true,
    },
    // The filter knows the number of this process only, not those of its children.
    Right {
        what: "to signal processes outside",
        is_kept: |_| true,
        landlock: 6,
        filter: |rules| !rules.processes,
    },
];

/// Returns what nobody would keep from a process on a kernel with this version of Landlock.
pub(super) fn unkept(version: i64, rules: &Rules<'_>) -> Option<String> {
    let unkept = |right: &&Right| {
        (right.is_kept)(rules) && version < right.landlock && !(right.filter)(rules)
    };
    let right = RIGHTS.iter().find(unkept)?;
    Some(format!(
        "Landlock {version} of this kernel does not keep it from being able {} (version {} does)",
        right.what, right.landlock
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cage_that_nothing_keeps_is_refused() {
        let rules = Rules::default();
        assert!(unkept(0, &rules).is_some());
        for version in 1..=10 {
            assert_eq!(unkept(version, &rules), None, "version {version}");
            assert_eq!(unkept(version, &Rules { network: true, ..rules }), None);
            let processes = unkept(version, &Rules { processes: true, ..rules });
            assert_eq!(processes.is_none(), version >= 6, "version {version}: {processes:?}");
        }
    }
}
