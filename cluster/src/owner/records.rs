//! Log records of nodes.

/// Gives a log record of a node's to this program's logger.
pub(super) fn pass_on(node: &str, level: u8, target: &str, message: &str) {
    let level = log::Level::iter().find(|known| *known as usize == usize::from(level));
    let Some(level) = level.filter(|level| *level <= log::max_level()) else { return };
    log::logger().log(
        &log::Record::builder()
            .level(level)
            .target(target)
            .args(format_args!("[{node}] {message}"))
            .build(),
    );
}
