//! Group C: logging.

use std::sync::Mutex;

use multiproc::{Level, Process, get_logger};

use crate::support::for_each_method;

/// What the handler of this process got.
static SEEN: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

pub(crate) fn c36_levels_filter() {
    fn log_all() -> Vec<(Level, String)> {
        SEEN.lock().expect("lock").clear();
        get_logger().add_handler(|record| {
            SEEN.lock().expect("lock").push((record.level, record.message.to_string()));
        });
        get_logger().sub_debug("sub-debug");
        get_logger().debug("debug");
        get_logger().info("info");
        get_logger().sub_warning("sub-warning");
        get_logger().warning("warning");
        get_logger().error("error");
        get_logger().log(Level::Critical, "critical");
        SEEN.lock().expect("lock").clone()
    }
    let all = [
        (Level::SubDebug, "sub-debug"),
        (Level::Debug, "debug"),
        (Level::Info, "info"),
        (Level::SubWarning, "sub-warning"),
        (Level::Warning, "warning"),
        (Level::Error, "error"),
        (Level::Critical, "critical"),
    ];
    for_each_method(|method| {
        for (first, (level, _)) in all.iter().enumerate() {
            get_logger().set_level(*level);
            let child = Process::new(log_all, ()).start_method(method).start().expect("start");
            get_logger().set_level(Level::NotSet);
            let expected: Vec<_> =
                all[first..].iter().map(|(level, text)| (*level, (*text).to_owned())).collect();
            assert_eq!(child.join().expect("join"), expected, "{level}");
        }
        // Nothing is set anywhere: nothing comes.
        let child = Process::new(log_all, ()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), []);
    });
}

pub(crate) fn c37_level_reaches_the_child() {
    fn nested(method: String) -> (Level, Level) {
        let process = Process::new(|| get_logger().level(), ())
            .start_method(method.parse().expect("a start method"));
        (get_logger().level(), process.start().expect("start").join().expect("join"))
    }
    for_each_method(|method| {
        for level in
            [Level::SubDebug, Level::Info, Level::SubWarning, Level::Critical, Level::NotSet]
        {
            get_logger().set_level(level);
            let child = Process::new(nested, (method.to_string(),))
                .start_method(method)
                .start()
                .expect("start");
            // What is set later does not matter.
            get_logger().set_level(Level::Error);
            assert_eq!(child.join().expect("join"), (level, level));
            get_logger().set_level(Level::NotSet);
        }
    });
}

pub(crate) fn c38_facade_level_reaches_the_child() {
    use log::LevelFilter;
    fn enabled() -> (usize, bool, bool, bool) {
        let logger = get_logger();
        let (debug, info, error) = (Level::Debug, Level::Info, Level::Error);
        let facade = log::max_level() as usize;
        (
            facade,
            logger.is_enabled_for(debug),
            logger.is_enabled_for(info),
            logger.is_enabled_for(error),
        )
    }
    for_each_method(|method| {
        for (filter, debug, info, error) in [
            (LevelFilter::Off, false, false, false),
            (LevelFilter::Error, false, false, true),
            (LevelFilter::Info, false, true, true),
            (LevelFilter::Debug, true, true, true),
        ] {
            log::set_max_level(filter);
            let child = Process::new(enabled, ()).start_method(method).start().expect("start");
            assert_eq!(child.join().expect("join"), (filter as usize, debug, info, error));
        }
        // A level of the logger's own goes before.
        get_logger().set_level(Level::Error);
        let child = Process::new(enabled, ()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), (LevelFilter::Debug as usize, false, false, true));
        get_logger().set_level(Level::NotSet);
        log::set_max_level(LevelFilter::Off);
    });
}

pub(crate) fn c39_records_carry_the_callers_file() {
    type Place = (Option<String>, Option<u32>);
    static PLACES: Mutex<Vec<Place>> = Mutex::new(Vec::new());
    fn places() -> (Vec<Place>, u32) {
        get_logger().set_level(Level::Debug);
        get_logger().add_handler(|record| {
            PLACES.lock().expect("lock").push((record.file.map(str::to_owned), record.line));
        });
        get_logger().debug("1");
        get_logger().info("2");
        get_logger().warning("3");
        get_logger().log(Level::Error, "4");
        (PLACES.lock().expect("lock").clone(), line!() - 4)
    }
    for_each_method(|method| {
        let child = Process::new(places, ()).start_method(method).start().expect("start");
        let (places, first) = child.join().expect("join");
        let expected: Vec<_> =
            (first..first + 4).map(|line| (Some(file!().to_owned()), Some(line))).collect();
        assert_eq!(places, expected);
    });
}
