use multiproc::Run;

struct Worker {
    _number: u32,
}

//~ the trait bound `Worker: serde::Serialize` is not satisfied
//~ adding `#[derive(serde::Serialize)]` to your `Worker` type
//~ adding `#[derive(serde::Deserialize)]` to your `Worker` type
impl Run for Worker {
    type Output = ();

    fn run(self) {}
}

fn main() {
    let _ = Worker { _number: 1 }.start();
}
