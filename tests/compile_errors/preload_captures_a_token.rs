use multiproc::set_forkserver_preload;

struct Token;

fn main() {
    let token = Token;
    //~ a closure that captures variables
    let _ = set_forkserver_preload(move || drop(token));
}
