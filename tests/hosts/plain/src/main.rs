//! A program without multiproc that loads a plug-in with it.

use plain::Plugin;

fn main() {
    println!("main");
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("the path of the plug-in");
    let mode = arguments.next();
    let plugin = Plugin::load(&path);
    if mode.as_deref() != Some("only load") {
        assert_eq!(plugin.call(c"plugin_is_refused"), 0);
        assert_eq!(plugin.call(c"plugin_forks"), 0);
    }
    if mode.as_deref() == Some("unload") {
        plugin.unload();
    }
    println!("well");
}
