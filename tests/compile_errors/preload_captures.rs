use multiproc::set_forkserver_preload;

fn main() {
    let path = String::from("model");
    //~ a closure that captures variables
    let _ = set_forkserver_preload(move || drop(path));
}
