use multiproc::Process;

struct Receipt {
    _number: u32,
}

fn pay(number: u32) -> Receipt {
    Receipt { _number: number }
}

fn main() {
    //~ the trait bound `Receipt: serde::Serialize` is not satisfied
    //~ adding `#[derive(serde::Serialize)]` to your `Receipt` type
    let _ = Process::new(pay, (1,));
}
