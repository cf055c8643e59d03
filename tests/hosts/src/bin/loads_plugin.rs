//! A program with multiproc that loads a plug-in which brings its own.

use plain::Plugin;

fn main() {
    hosts::begin();
    let mut arguments = std::env::args().skip(1);
    hosts::check(hosts::all());
    let plugin = Plugin::load(&arguments.next().expect("the path of the plug-in"));
    assert_eq!(plugin.call(c"plugin_is_refused"), 0);
    hosts::check(hosts::all());
    assert_eq!(plugin.call(c"plugin_forks"), 0);
    hosts::check(hosts::all());
    if arguments.next().is_some() {
        plugin.unload();
        hosts::check(hosts::all());
    }
    println!("well");
}
